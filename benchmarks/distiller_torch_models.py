"""Teacher and student of benchmarks/distiller.py on PyTorch, with the weights of ours."""

import numpy as np
import torch
import transformers


class Teacher(torch.nn.Module):
    """BertForMaskedLM of Hugging Face transformers.

    Args:
        vocab_size: V.
        num_layers: layers.
        hidden_size: width; a head is 64 wide.
        gathered: whether `forward` is given the masked positions and returns their logits alone.
    """

    def __init__(self, vocab_size: int, num_layers: int, hidden_size: int, gathered: bool):
        super().__init__()
        self.bert = transformers.BertForMaskedLM(
            transformers.BertConfig(
                vocab_size=vocab_size,
                num_hidden_layers=num_layers,
                hidden_size=hidden_size,
                num_attention_heads=hidden_size // 64,
                intermediate_size=4 * hidden_size,
                hidden_act="gelu_pytorch_tanh",
            )
        )
        self._gathered = gathered

    def take_weights(self, weights: dict[str, np.ndarray]) -> None:
        """Takes weights by the names that transformers gives them."""
        missing, unknown = self.bert.load_state_dict({k: torch.tensor(v) for k, v in weights.items()}, strict=False)
        tied = {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}
        if unknown or set(missing) - tied:
            raise ValueError(f"teacher: missing {missing}, unknown {unknown}")
        self.bert.tie_weights()

    def forward(self, token_ids, segment_ids, padding_mask, mask_positions=None, logits_mask=None):
        """Returns the embedding and all layers as `hidden`, and `logits`."""
        inputs = {"input_ids": token_ids, "token_type_ids": segment_ids, "attention_mask": padding_mask}
        if not self._gathered:
            outputs = self.bert(**inputs, output_hidden_states=True)
            return {"hidden": outputs.hidden_states, "logits": outputs.logits}
        hidden = self.bert.bert(**inputs, output_hidden_states=True).hidden_states
        return {"hidden": hidden, "logits": self.bert.cls(_at(hidden[-1], mask_positions))}


class Student(torch.nn.Module):
    """Token + segment + position, LSTMs in both directions, BERT's masked-LM head; dimensions as in ours.

    Args:
        vocab_size: V.
        num_layers: LSTM layers.
        width: of the embedding, and of both directions together.
        gathered: see `Teacher`.
    """

    def __init__(self, vocab_size: int, num_layers: int, width: int, gathered: bool):
        super().__init__()
        self.tokens = torch.nn.Embedding(vocab_size, width)
        self.segments = torch.nn.Embedding(2, width)
        self.positions = torch.nn.Embedding(128, width)
        # One by one: the output of each is matched.
        self.lstms = torch.nn.ModuleList(
            torch.nn.LSTM(width, width // 2, batch_first=True, bidirectional=True) for _ in range(num_layers)
        )
        self.dense = torch.nn.Linear(width, width)
        self.norm = torch.nn.LayerNorm(width, eps=1e-12)
        self.bias = torch.nn.Parameter(torch.zeros(vocab_size))
        self._gathered = gathered

    @torch.no_grad()
    def take_weights(self, weights: dict[str, np.ndarray]) -> None:
        """Takes weights by their Keras paths. Gates stand in the same order; of the two biases one stays 0."""
        take = {
            self.tokens.weight: weights["token_embedding/embeddings"],
            self.segments.weight: weights["segment_embedding/embeddings"],
            self.positions.weight: weights["position_embedding/embeddings"],
            self.dense.weight: weights["masked_lm_head/intermediate_dense/kernel"].T,
            self.dense.bias: weights["masked_lm_head/intermediate_dense/bias"],
            self.norm.weight: weights["masked_lm_head/intermediate_layer_norm/gamma"],
            self.norm.bias: weights["masked_lm_head/intermediate_layer_norm/beta"],
            self.bias: weights["masked_lm_head/output_bias"],
        }
        for number, lstm in enumerate(self.lstms, start=1):
            for direction, suffix in (("forward", ""), ("backward", "_reverse")):
                cell = f"bilstm_{number}/{direction}_lstm_{number}/lstm_cell"
                take[getattr(lstm, f"weight_ih_l0{suffix}")] = weights[f"{cell}/kernel"].T
                take[getattr(lstm, f"weight_hh_l0{suffix}")] = weights[f"{cell}/recurrent_kernel"].T
                take[getattr(lstm, f"bias_ih_l0{suffix}")] = weights[f"{cell}/bias"]
                take[getattr(lstm, f"bias_hh_l0{suffix}")] = np.zeros_like(weights[f"{cell}/bias"])
        for parameter, array in take.items():
            parameter.copy_(torch.tensor(array))

    def forward(self, token_ids, segment_ids, padding_mask, mask_positions=None, logits_mask=None):
        """Returns the embedding and all layers as `hidden`, and `logits`."""
        tokens = token_ids.shape[1]
        x = self.tokens(token_ids) + self.segments(segment_ids) + self.positions.weight[:tokens]
        hidden, lengths = [x], padding_mask.sum(1)
        packed = bool(lengths.min() < tokens)  # without padding there is nothing to gain
        for lstm in self.lstms:
            if packed:
                rows = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
                x, _ = torch.nn.utils.rnn.pad_packed_sequence(lstm(rows)[0], batch_first=True, total_length=tokens)
            else:
                x, _ = lstm(x)
            hidden.append(x)
        if self._gathered:
            x = _at(x, mask_positions)
        x = self.norm(torch.nn.functional.gelu(self.dense(x)))
        return {"hidden": hidden, "logits": torch.nn.functional.linear(x, self.tokens.weight, self.bias)}


def _at(states, positions):
    """`[B, T, H]` at `[B, P]`."""
    return torch.take_along_dim(states, positions[..., None], 1)
