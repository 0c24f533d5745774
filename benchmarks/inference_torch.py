"""BERT from transformers into ONNX Runtime, the way its users go: torch.onnx, optimiser, dynamic quantisation.

    python -m benchmarks.inference_torch HUGGING_FACE_FOLDER FOLDER

Writes FOLDER/fp32.onnx and FOLDER/int8.onnx. Runs where torch, transformers, onnx and onnxruntime are installed; needs
neither TensorFlow nor Keras.
"""

import os
import sys
import warnings

import numpy as np

from chemkd_tf.atomic import atomic_folder

OPSET = 17
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def export_and_optimise(source: str, folder: str) -> None:
    """Exports the classifier, fuses attention, gelu and layer norms, and quantises its matrix products.

    Args:
        source: folder that `inference_hugging_face.write_hugging_face` wrote.
        folder: for fp32.onnx and int8.onnx; written when complete.
    """
    import onnx
    import onnxruntime.quantization as quantization
    import torch
    from onnxruntime.transformers import optimizer
    from transformers import BertModel

    encoder = BertModel.from_pretrained(source, add_pooling_layer=False, attn_implementation="eager")
    head = np.load(os.path.join(source, "head.npz"))

    class Classifier(torch.nn.Module):
        """Probabilities by the state at [CLS]."""

        def __init__(self):
            super().__init__()
            self.encoder = encoder
            self.head = torch.nn.Linear(*head["kernel"].shape)
            self.head.weight.data = torch.tensor(head["kernel"].T.copy())
            self.head.bias.data = torch.tensor(head["bias"])

        def forward(self, input_ids, attention_mask, token_type_ids):
            states = self.encoder(input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
            return torch.softmax(self.head(states.last_hidden_state[:, 0]), -1)

    example = tuple(torch.ones([2, 16], dtype=torch.int64) for _ in INPUTS)
    config = encoder.config
    with atomic_folder(folder, holds="fp32.onnx") as partial:
        exported = os.path.join(partial, "exported.onnx")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tracing warns of Python values in transformers' code
            torch.onnx.export(
                Classifier().eval(), example, exported, input_names=list(INPUTS), output_names=["probabilities"],
                dynamic_axes={name: {0: "batch", 1: "tokens"} for name in INPUTS} | {"probabilities": {0: "batch"}},
                opset_version=OPSET, dynamo=False,
            )  # fmt: skip
        fp32, int8 = (os.path.join(partial, f"{precision}.onnx") for precision in ("fp32", "int8"))
        model = optimizer.optimize_model(
            exported, "bert", num_heads=config.num_attention_heads, hidden_size=config.hidden_size, opt_level=0
        )
        model.change_graph_inputs_to_int32()
        model.save_model_to_file(fp32)
        print(dict(model.get_fused_operator_statistics()), flush=True)
        quantization.quantize_dynamic(
            fp32, int8, weight_type=quantization.QuantType.QInt8,
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},  # it knows no types behind fused operators
        )  # fmt: skip
        os.remove(exported)


if __name__ == "__main__":
    export_and_optimise(*sys.argv[1:])
