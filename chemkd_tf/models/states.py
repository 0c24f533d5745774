"""Names of what models take and return: the only thing that distillation knows about a model.

Shapes: B batch, T tokens, P masked positions, H width, V vocabulary, C classes.

    takes    token_ids, segment_ids, padding_mask   int32 [B, T]     (padding_mask: 1 on real tokens)
             mask_positions                         int32 [B, P]     (models with a masked-LM head)
    returns  embedding                              float [B, T, H]  what enters the first layer
             hidden_1 ... hidden_L                  float [B, T, H]  output of layer h, from 1 as in the paper
             logits                                 float [B, P, V]  (masked-LM head), [B, C] (classifier)
    on demand
             attention_scores_1 ... _L              float [B, heads, T, T]  before the mask and softmax: see
                                                    `attention_scores.with_attention_scores`
             representation                         float [B, H]  what a classifier reads the classes from: see
                                                    `heads.classification_states`
"""

EMBEDDING = "embedding"
LOGITS = "logits"
REPRESENTATION = "representation"
MASK_POSITIONS = "mask_positions"
ENCODER_INPUTS = ("token_ids", "segment_ids", "padding_mask")


def hidden(layer: int) -> str:
    """Name of the output of layer `layer`, counted from 1."""
    return f"hidden_{layer}"


def attention_scores(layer: int) -> str:
    """Name of the attention scores of transformer layer `layer`, counted from 1."""
    return f"attention_scores_{layer}"


def taught(state: str) -> str:
    """Name, in a batch, of a state of the teacher that was asked for beforehand."""
    return f"taught_{state}"


def select(batch: dict, names: tuple[str, ...]) -> dict:
    """The entries of `batch` that a model takes: a superfluous one would silently shift a functional model's inputs."""
    return {name: batch[name] for name in names}
