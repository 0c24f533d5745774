"""A model in two halves, before and after its embedding: for losses that move the embedding and run the rest again.

LRC-BERT (Fu et al. 2021, arXiv:2012.07335) adds the gradient of the loss to the embedding's output:

    to_embedding, from_embedding = split_at_embedding(student)
    embedding = to_embedding(inputs, training=True)
    outputs = from_embedding({**inputs, states.EMBEDDING: embedding + perturbation}, training=True)
"""

import keras

from chemkd_tf.models import states


def split_at_embedding(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Returns (to_embedding, from_embedding), two models over the layers and variables of `model`.

    Args:
        model: any functional model that returns states: encoder, masked-LM model, `heads.classification_states`, each
            with or without attention scores.

    Returns:
        to_embedding: the inputs of `model` to its `embedding` `[B, T, H]`, a bare tensor.
        from_embedding: the inputs of `model` and `embedding` to everything that `model` returns. It has no use for
        token and segment ids, but takes them, so that one dict serves all three models. A tied head still reads the
        token embedding's variable, which then gets its gradient from both halves.
    """
    embedding = model.output[states.EMBEDDING]
    to_embedding = keras.Model(model.input, embedding, name=f"{model.name}_to_embedding")
    rest = keras.Function({**model.input, states.EMBEDDING: embedding}, model.output)
    inputs = {
        name: keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=name)
        for name, tensor in {**model.input, states.EMBEDDING: embedding}.items()
    }
    # Called with inputs instead of values, the graph is drawn a second time, through the same layers.
    return to_embedding, keras.Model(inputs, rest.call(inputs), name=f"{model.name}_from_embedding")
