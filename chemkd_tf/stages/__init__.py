"""The paper, top to bottom: pretrain, distill, classify."""
