"""What has to be known about a family of transformers: which backbone, how its layers follow, what others call them."""

import dataclasses
import re
from collections.abc import Callable

import keras
import keras_nlp

from chemkd_tf.models.architecture import TeacherArchitecture

# Names of activations: ours to Keras's. google-research/bert computes gelu by its tanh approximation.
ACTIVATIONS: dict[str, Callable] = {
    "gelu": lambda x: keras.activations.gelu(x, approximate=False),
    "gelu_tanh": lambda x: keras.activations.gelu(x, approximate=True),
    "relu": keras.activations.relu,
}

# Inside a transformer layer of keras-nlp: its variables, by the part of the layer that they belong to.
QUERY, KEY, VALUE, ATTENTION_OUTPUT, ATTENTION_NORM, INTERMEDIATE, OUTPUT, OUTPUT_NORM = (
    "self_attention_layer/query",
    "self_attention_layer/key",
    "self_attention_layer/value",
    "self_attention_layer/attention_output",
    "self_attention_layer_norm",
    "feedforward_intermediate_dense",
    "feedforward_output_dense",
    "feedforward_layer_norm",
)
HEAD_DENSE, HEAD_NORM = "masked_lm_head/intermediate_dense", "masked_lm_head/intermediate_layer_norm"
HEAD_BIAS, HEAD_KERNEL = "masked_lm_head/output_bias", "masked_lm_head/output_kernel"

_PARAMETERS = {"kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias", "embeddings": "weight"}


@dataclasses.dataclass(frozen=True)
class Family:
    """A family of transformers.

    Args:
        name: value of `TeacherArchitecture.family`, and Hugging Face's `model_type`.
        backbone: keras-nlp's class.
        arguments: fields of `TeacherArchitecture` to arguments (and attributes) of the backbone.
        first_input: the backbone's attributes with the layer whose output enters the first transformer layer: the
            first of them that exists.
        layer_calls: the transformer layers in the order in which the backbone calls them; those that make up one layer
            in the sense of the states contract together.
        config_keys: fields of `TeacherArchitecture` to keys of Hugging Face's config.json.
        backbone_activation: the feed-forward layer's in the backbone as keras-nlp makes it.
        activation_key: key of config.json with the feed-forward layer's activation.
        head_activation: the masked-LM head's, or None where it is the feed-forward layer's.
        parts: parts of the embedding and of the head to Hugging Face's names.
        layer_path: regular expression of a transformer layer's path; its groups go into `layer_name`.
        layer_name: Hugging Face's name of a transformer layer.
        layer_parts: parts of a transformer layer to Hugging Face's names.
        base_prefix: what Hugging Face puts before every name of the encoder, unless it is saved alone.
        superfluous: regular expression of tensors that masked-LM training has no use for: poolers and the like.
        masked_lm_class: keras-nlp's masked-LM task, or None.
    """

    name: str
    backbone: type
    arguments: dict[str, str]
    first_input: tuple[str, ...]
    layer_calls: Callable[[keras.Model], list[list[keras.layers.Layer]]]
    config_keys: dict[str, str]
    backbone_activation: str
    activation_key: str
    head_activation: str | None
    parts: dict[str, str]
    layer_path: str
    layer_name: str
    layer_parts: dict[str, str]
    base_prefix: str
    superfluous: str
    masked_lm_class: type | None

    def build_backbone(self, architecture: TeacherArchitecture) -> keras_nlp.models.Backbone:
        """Returns keras-nlp's backbone of this shape with fresh weights."""
        width = architecture.embedding_dim or architecture.hidden_dim
        values = {**dataclasses.asdict(architecture), "embedding_dim": width}
        backbone = self.backbone(**{argument: values[field] for field, argument in self.arguments.items()})
        for layer in {layer for layers in self.layer_calls(backbone) for layer in layers}:
            # The backbones' constructors know neither.
            layer.activation = ACTIVATIONS[architecture.activation]
            layer._feedforward_intermediate_dense.activation = ACTIVATIONS[architecture.activation]
            layer._self_attention_layer_norm.epsilon = architecture.layer_norm_epsilon
            layer._feedforward_layer_norm.epsilon = architecture.layer_norm_epsilon
        backbone.embeddings_layer_norm.epsilon = architecture.layer_norm_epsilon
        return backbone

    def architecture_of(self, backbone: keras_nlp.models.Backbone) -> TeacherArchitecture:
        """Reads the shape off a backbone as keras-nlp makes it."""
        values = {field: getattr(backbone, argument) for field, argument in self.arguments.items()}
        if "num_segments" not in values:
            values["num_segments"] = 0
        if values.get("embedding_dim") == values["hidden_dim"]:
            values["embedding_dim"] = 0
        return TeacherArchitecture(family=self.name, activation=self.backbone_activation, **values)

    def hugging_face_name(self, path: str) -> str:
        """Returns the name that Hugging Face transformers gives the variable with this path.

        Raises:
            KeyError: it has none.
        """
        layer = re.match(self.layer_path, path)
        if layer:
            part, _, parameter = path[layer.end() :].rpartition("/")
            name = self.layer_name.format(*layer.groups()) + self.layer_parts[part]
        elif path in self.parts:  # a variable of the head itself
            return self.parts[path]
        else:
            part, _, parameter = path.rpartition("/")
            name = self.parts[part]
        return f"{name}.{_PARAMETERS[parameter]}"


def with_encoder_prefix(prefix: str, parts: dict[str, str]) -> dict[str, str]:
    """Returns `parts` with `prefix` before each name."""
    return {part: prefix + name for part, name in parts.items()}
