"""Every family by its name. A new one is a new file and a line here."""

from chemkd_tf.models.families.albert import ALBERT
from chemkd_tf.models.families.bert import BERT
from chemkd_tf.models.families.distilbert import DISTILBERT
from chemkd_tf.models.families.electra import ELECTRA
from chemkd_tf.models.families.family import Family

FAMILIES: dict[str, Family] = {family.name: family for family in (BERT, ALBERT, ELECTRA, DISTILBERT)}
