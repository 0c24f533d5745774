"""Settings of a method of distillation: the same on a corpus and on a task."""

import dataclasses

from chemkd_tf.config.options import option, require


@dataclasses.dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """What is learnt from the teacher, how much of it, and when (docs/distillation.md)."""

    method: str = option("layered", "Row of chemkd_tf/distillation/recipes.py; docs/distillation.md describes each.")
    schedule: str = option(
        "", "joint: all losses at once. stagewise: embedding, then hidden layers, then predictions. "
        "gradual_unfreezing: likewise, the layers unfrozen from the top down for the predictions (paper section 4.3). "
        "Empty: the method's own (layered: joint).", ("", "joint", "stagewise", "gradual_unfreezing"),
    )  # fmt: skip
    phase_proportions: tuple[float, ...] = option(
        (), "Shares of the updates of the schedule's stages, such as 1,5,4; empty: the schedule's own."
    )
    layer_map: tuple[int, ...] = option(
        (1, 3, 5), "Teacher layer f(h) for each student layer h, from 1 (paper: 2h - 1)"
    )
    share_projection: bool = option(False, "One W_h for all matched layers instead of one for each.")
    embedding_loss_weight: float = option(1.0, "Factor a on the weight that the method gives L_emb (layered: 1).")
    hidden_loss_weight: float = option(1.0, "Factor b on that of the losses of hidden layers, L_hid (layered: 1).")
    attention_loss_weight: float = option(1.0, "Factor on that of the attention scores (tinybert).")
    prediction_loss_weight: float = option(1.0, "Factor c on that of the teacher's predictions, L_pred (layered: 1).")
    label_loss_weight: float = option(
        1.0,
        "Factor on that of the right answers: labels of a task, masked tokens of a corpus where the method has them.",
    )
    temperature: float = option(0.0, "Temperature Tem of L_pred; 0: the method's own (layered: 1, as in the paper).")
    teacher_bfloat16: bool = option(
        False, "Compute the teacher in bfloat16: most of an update is its forward pass. The student, the losses and "
        "all weights on disk stay float32. For GPUs, and CPUs that have bfloat16 products."
    )  # fmt: skip
    num_negatives: int = option(15, "Other samples K that lrc_bert compares each sample with.")

    def require_method(self) -> None:
        """Refuses values out of range.

        Raises:
            InputError: names the flag.
        """
        weights = ("embedding", "hidden", "attention", "prediction", "label")
        for name in (f"{weight}_loss_weight" for weight in weights):
            require(getattr(self, name) >= 0, f"--{name}={getattr(self, name)}: 0 (off) or more")
        require(self.temperature >= 0, f"--temperature={self.temperature}: above 0, or 0 for the method's own")
        require(self.num_negatives >= 1, f"--num_negatives={self.num_negatives}: at least 1")
        require(
            all(share > 0 for share in self.phase_proportions),
            f"--phase_proportions={','.join(map(str, self.phase_proportions))}: each above 0",
        )
