"""The grammar of the embedded corpus: how adverts, safety-data-sheet entries and safety rules are put together.

An advert has one latent job family. Its duty clauses are all drawn from that family; its distractors are clauses of
other families in frames that say that they are not the duty. Both kinds of frame share most of their words, so that
the family follows from which clause stands in which frame, not from the words of the text taken together.
"""

import random
import re

from data_prep import sample_lexicon as lexicon
from data_prep.sample_duties import FAMILY_DUTIES

JOB_FAMILIES = tuple(FAMILY_DUTIES)

JOB_TITLES = {
    "工艺": ("工艺工程师", "工艺主管", "工艺技术员", "工艺设计师"),
    "生产操作": ("化工操作工", "生产班长", "内操", "外操", "投料工"),
    "设备": ("设备工程师", "维修钳工", "机修班长", "设备主管"),
    "仪表自控": ("仪表工程师", "自控工程师", "DCS工程师", "仪表维修工"),
    "安全": ("安全工程师", "安全员", "安全主管", "EHS专员"),
    "分析质检": ("化验员", "分析工程师", "质检主管", "QC专员"),
    "研发": ("研发工程师", "合成研究员", "配方研究员", "研发助理"),
    "环保": ("环保工程师", "环保专员", "污水处理工", "环保主管"),
    "销售技术支持": ("销售工程师", "技术支持工程师", "区域经理", "外贸业务员"),
    "储运物流": ("仓库主管", "罐区操作工", "物流调度员", "装卸班长"),
}
"""Titles of each job family; they occur in the unlabelled adverts only."""

UNINFORMATIVE_TITLES = ("工程师", "专员", "主管", "储备干部", "技术员", "高级工程师", "助理", "资深专员")

# "{x}" is the duty clause (or two clauses); bare "{x}" makes sure that a missing frame is not evidence against a duty.
DUTY_FRAMES = tuple(
    """
{x} {x} 负责{x} 主要负责{x} 岗位职责：{x} 工作内容：{x} 独立{x} 日常工作是{x} 每天的主要任务是{x} 入职后要{x}
由您牵头{x} 本岗位需要{x} 具体工作为{x} 承担的任务是{x} 直接负责{x} 您将{x} 在上级安排下{x} 核心任务：{x}
考核重点是{x} 工作以{x}为主 {x}是本岗位的日常工作 {x}，并对结果负责 {x}由本岗位独立完成 {x}占工作时间的八成
我们请您来{x} 上岗后长期{x} 职责在于{x} 能独当一面地{x} 这个岗位就是{x} 聘用后专职{x} 试用期内即开始{x} 按计划{x}
""".split()
)

DISTRACTOR_FRAMES = tuple(
    """
无需{x} 不负责{x} 不要求{x} 本岗位不需要{x} 无须独立{x} {x}由其他部门承担 {x}不在职责范围内 {x}另有专人负责
{x}由其他岗位独立完成 配合其他同事{x} 必要时协助兄弟部门{x} 与负责{x}的同事保持沟通 为{x}的部门提供便利
公司另有团队{x} 上游部门主要负责{x} 下游部门的日常工作是{x} 公司同时另招人员{x} {x}已外包给第三方 {x}交由承包商完成
隔壁班组负责{x} 原先兼顾的{x}已移交他人 入职后有机会观摩其他岗位{x} 培训时会旁听老师傅讲怎样{x}
曾经{x}的人员也可报名 有过{x}的经历更好，但入职后不再从事 {x}的事务不归本岗位 数据会交给{x}的同事
外部单位{x}时予以方便 其他工程师{x}，本岗位只需知情 工作以外可选修{x}的课程 遇到需要{x}的情况请转交相关部门
不用每天{x} {x}是兄弟部门的日常工作 他人{x}时给予必要支持
""".split()
)

_OPENERS = (
    "{公司}主营{物料}、{物料}的生产与销售",
    "{公司}是{城市}一家{物料}生产企业",
    "{公司}位于{城市}化工园区，拥有{装置}和{装置}",
    "{公司}专注{物料}的研发、生产、储运和销售",
    "因{装置}扩建，{公司}诚聘人才",
    "{公司}年产{物料}{产量}万吨",
    "{城市}{公司}现有{设备}等设备和{仪器}等仪器",
    "集团下属{公司}，主要产品为{物料}和{物料}",
    "{公司}通过安全标准化和质量、环保体系认证",
    "公司客户遍及{城市}、{城市}，产品有{物料}",
)

_REQUIREMENTS = (
    "{学历}及以上学历，{专业}、{专业}等相关专业",
    "{年限}年以上化工企业工作经验",
    "{专业}、{专业}、{专业}专业毕业均可",
    "持有{证书}者优先",
    "熟悉{标准}者优先",
    "了解{装置}或{设备}者优先",
    "{学历}以上，{年限}年以上相关经验，能吃苦耐劳",
    "身体健康，能适应倒班和现场工作",
    "责任心强，有良好的沟通能力和团队意识",
    "接受应届毕业生，{专业}专业优先",
    "有{物料}行业经验者优先",
    "熟练使用办公软件，能阅读英文资料",
    "年龄{年龄}周岁以下，无色盲色弱",
)

_BENEFITS = (
    "月薪{薪资}元，缴纳五险一金",
    "提供食宿、班车和节日福利",
    "四班三运转，夜班有补贴",
    "长白班，双休，年终奖两到四个月",
    "上四休二，工作地点{城市}",
    "年薪{年薪}万元，带薪年假，定期体检",
    "免费住宿，餐补每月{餐补}元",
    "公司提供安全、设备和工艺方面的入职培训",
    "办公地点在{城市}，每年有技能培训",
    "试用期三个月，薪资{薪资}元，绩效另计",
    "十二小时两班倒，高温津贴按月发放",
    "享受人才公寓和子女入学补助",
)

_SAFETY_COMMON = (
    "化学品名称：{名}，分子式{式}，CAS号{号}",
    "{名}（CAS {号}）的联合国编号为UN{编号}",
    "储存于阴凉、通风的库房，库温不宜超过{库温}℃",
    "操作人员须经专门培训，严格遵守操作规程",
    "皮肤接触后立即脱去污染的衣着，用流动清水冲洗至少{分钟}分钟",
    "如吸入{名}，迅速脱离现场至空气新鲜处，保持呼吸道通畅",
    "泄漏时隔离污染区，切断{设备}的来料，限制人员出入",
    "废弃处置前应参阅国家和地方的法规，不得随意排放{名}",
    "{名}常用于{装置}，也用来制造{物料}和{物料}",
    "作业场所{名}的浓度用{仪器}测定",
    "搬运{名}时轻装轻卸，防止包装及容器损坏",
)
_BOILING_POINT = "{名}的沸点约为{沸点}℃"
_FLASH_POINT = "{名}的闭杯闪点约为{闪点}℃"

_SAFETY_BY_HAZARD = {
    "flammable": (
        "{名}易燃，其蒸气与空气可形成爆炸性混合物，遇明火、高热能引起燃烧爆炸",
        "{名}着火时用泡沫、干粉、二氧化碳或砂土灭火，并用水冷却{设备}",
        "灌装{名}时控制流速，且有接地装置，防止静电积聚",
        "{名}应与氧化剂分开存放，采用防爆型照明和通风设施",
    ),
    "toxic": (
        "{名}有毒，吸入、食入或经皮肤吸收可引起中毒",
        "接触{名}时佩戴过滤式防毒面具和防化学品手套",
        "{名}实行双人收发、双人保管",
        "{名}中毒者应尽早使用对症的解毒治疗",
        "误服{名}者用水漱口，尽快就医",
    ),
    "gas": (
        "{名}为压缩或液化气体，容器受热有开裂和爆炸的危险",
        "{名}泄漏时人员向上风向撤离，用喷雾水稀释",
        "{名}钢瓶或储罐应设压力、液位和气体浓度报警",
        "进入{名}泄漏区须佩戴正压式空气呼吸器",
    ),
    "corrosive": (
        "{名}具有强腐蚀性，可致皮肤和眼睛灼伤",
        "稀释{名}时应缓慢加入水中并不断搅拌，防止飞溅",
        "装卸{名}的场所应设洗眼器和喷淋装置",
        "{名}储罐周围设围堰，并备有中和药剂",
        "误服{名}者用水漱口，不得催吐，尽快就医",
    ),
    "oxidising": (
        "{名}是强氧化剂，与有机物、还原剂混合可引起燃烧",
        "{名}应避光保存，远离可燃物和金属粉末",
        "{名}泄漏物不得与木屑等可燃材料接触",
    ),
    "wet": (
        "{名}遇水剧烈反应，放出易燃气体",
        "{名}着火禁止用水和泡沫灭火，应使用干砂或干粉",
        "{名}须密封保存，库房保持干燥",
    ),
}

_RULES = (
    "{装置}动火作业前应进行气体分析，分析合格后30分钟内方可动火",
    "按照{标准}的要求，特殊作业应办理作业许可并指定监护人",
    "进入{设备}前应切断物料，加装盲板，氧含量保持在19.5%至21%",
    "涉及{物料}的装置应设置紧急切断和泄压设施",
    "{设备}的操作压力不得超过{压力}，温度不得高于{温度}",
    "储存{物料}的场所应符合{标准}的规定",
    "{装置}应配备可燃和有毒气体检测报警系统，并定期校验",
    "生产经营单位应当对从业人员进行安全生产教育和培训",
    "{物料}与{物料}不得在同一库房内混存",
    "企业应开展危险与可操作性分析，对{装置}的偏差逐项评估",
    "{设备}检修前应完成置换、清洗和能量隔离，并上锁挂牌",
    "安全联锁的摘除应经审批，并制定临时措施",
    "装卸{物料}时车辆应熄火并可靠接地，驾驶员不得离开现场",
    "{物料}废水应分类收集，处理达标后方可排放",
    "外排废气中的特征污染物应按{标准}监测",
    "{装置}的变更应进行风险评价，并告知受影响的人员",
    "违反{标准}的，由主管部门责令限期改正",
    "发生{物料}泄漏时，应立即启动应急预案，疏散无关人员",
    "重大危险源应登记建档，定期检测、评估、监控",
    "{浓度}{物料}的管道应采用耐腐蚀材料，法兰设防喷溅罩",
    "取样{物料}应使用密闭取样器，并穿戴防护用品",
    "{设备}应设超温超压报警，信号接入控制室",
    "本条所称主要负责人对{装置}的安全生产全面负责",
    "劳动防护用品的配备应符合{标准}",
)

_SLOT = re.compile(r"\{(\w+)\}")
_FILLERS = {
    "物料": lexicon.CHEMICALS,
    "设备": lexicon.EQUIPMENT,
    "装置": lexicon.UNITS,
    "仪器": lexicon.INSTRUMENTS,
    "标准": lexicon.STANDARDS,
    "城市": lexicon.CITIES,
    "公司": tuple(stem + tail for stem in lexicon.COMPANY_STEMS for tail in lexicon.COMPANY_TAILS),
    "专业": lexicon.MAJORS,
    "证书": lexicon.CERTIFICATES,
    "学历": ("高中", "中专", "大专", "本科", "硕士"),
    "年限": tuple("一二三五八"),
    "年龄": ("30", "35", "38", "40", "45", "50"),
    "温度": tuple(f"{value}℃" for value in range(-20, 260, 10)),
    "压力": tuple(f"{value / 10:.1f}MPa" for value in range(1, 64, 3)),
    "浓度": tuple(f"{value}%" for value in (5, 10, 15, 20, 30, 32, 36, 48, 50, 70, 85, 98)),
    "产量": tuple(str(value) for value in (1, 2, 3, 5, 8, 10, 15, 20, 30, 50, 60, 100)),
    "薪资": tuple(f"{low}-{low + 3000}" for low in range(4500, 15000, 500)),
    "年薪": tuple(f"{low}-{low + 6}" for low in range(8, 31, 2)),
    "餐补": ("200", "300", "400", "500", "600"),
    "库温": ("25", "30", "35", "37"),
    "分钟": ("15", "20", "30"),
}

# These three decide how far a bag of words gets; they were set by benchmarks/bag_of_words.py alone.
_NUM_DUTY_CLAUSES = (2, 3, 3, 4)
_NUM_DISTRACTORS = {False: (2, 2, 3), True: (1, 2)}
_SAME_FAMILY_SHARE = 0.25

MAX_LABELLED_LENGTH = 125
MIN_LABELLED_LENGTH = 60


def fill_slots(template: str, rng: random.Random, **values: str) -> str:
    """Replaces every ``{slot}`` of `template`: from `values` if named there, else by a random shared noun.

    Raises:
        KeyError: If a slot is neither in `values` nor known to the lexicon.
    """
    return _SLOT.sub(lambda slot: values.get(slot[1]) or rng.choice(_FILLERS[slot[1]]), template)


def draw_clause(family: str, rng: random.Random) -> str:
    """Returns one duty clause of `family`: a verb and an object of one of its rows, slots filled."""
    rows = FAMILY_DUTIES[family]
    # By the number of objects: a short row's objects would otherwise be the frequent ones.
    verbs, objects = rng.choices(rows, weights=[len(objects) for _, objects in rows])[0]
    return fill_slots(rng.choice(verbs) + rng.choice(objects), rng)


def _draw_duty_sentences(family: str, num_clauses: int, rng: random.Random) -> list[str]:
    sentences = []
    while num_clauses > 0:
        in_sentence = 2 if num_clauses > 1 and rng.random() < 0.25 else 1
        clauses = [draw_clause(family, rng) for _ in range(in_sentence)]
        sentences.append(rng.choice(DUTY_FRAMES).replace("{x}", rng.choice("，、").join(clauses)))
        num_clauses -= in_sentence
    return sentences


def _draw_distractors(family: str, num_distractors: int, rng: random.Random) -> list[str]:
    others = [other for other in JOB_FAMILIES if other != family]
    # Some adverts keep to one other family: then counting words cannot tell which of the two is the duty.
    families = (
        [rng.choice(others)] * num_distractors
        if rng.random() < _SAME_FAMILY_SHARE
        else rng.choices(others, k=num_distractors)
    )
    return [rng.choice(DISTRACTOR_FRAMES).replace("{x}", draw_clause(other, rng)) for other in families]


def draw_advert(family: str, rng: random.Random, labelled: bool = False) -> list[str]:
    """Draws a recruitment advert of one job family.

    Args:
        family: one of `JOB_FAMILIES`.
        rng: source of all random choices.
        labelled: whether the advert is for the labelled sets: no informative title, 60 to 125 characters.

    Returns:
        Its sentences with their final full stop, in reading order.
    """
    while True:
        body = _draw_duty_sentences(family, rng.choice(_NUM_DUTY_CLAUSES), rng)
        has_opener = rng.random() < 0.4
        # The company's line of business distracts as well, so that an opener may stand for one foreign clause.
        body += _draw_distractors(family, rng.choice(_NUM_DISTRACTORS[has_opener]), rng)
        extras = (_REQUIREMENTS, 0.5), (_BENEFITS, 0.4), (_REQUIREMENTS, 0.2)
        body += [fill_slots(rng.choice(templates), rng) for templates, share in extras if rng.random() < share]
        rng.shuffle(body)
        opening = []
        if has_opener:
            opening.append(fill_slots(rng.choice(_OPENERS), rng))
        if not labelled and rng.random() < 0.15:
            opening.append(f"招聘岗位：{rng.choice(JOB_TITLES[family])}")
        elif rng.random() < 0.2:
            opening.append(f"招聘岗位：{rng.choice(UNINFORMATIVE_TITLES)}")
        sentences = [f"{sentence}。" for sentence in opening + body]
        if not labelled or MIN_LABELLED_LENGTH <= sum(map(len, sentences)) <= MAX_LABELLED_LENGTH:
            return sentences


def draw_safety_entry(rng: random.Random) -> list[str]:
    """Draws a safety-data-sheet entry of one substance, five to nine sentences."""
    name, formula, cas_number, un_number, hazard, boiling_point, flash_point = rng.choice(lexicon.SAFETY_DATA)
    templates = rng.sample(_SAFETY_COMMON[1:], rng.randint(3, 5))
    templates += rng.sample(_SAFETY_BY_HAZARD[hazard], rng.randint(1, 2))
    templates += [_BOILING_POINT] if boiling_point != "-" and rng.random() < 0.5 else []
    templates += [_FLASH_POINT] if flash_point != "-" and rng.random() < 0.5 else []
    rng.shuffle(templates)
    values = {"名": name, "式": formula, "号": cas_number, "编号": un_number}
    values |= {"沸点": boiling_point, "闪点": flash_point}
    return [f"{fill_slots(template, rng, **values)}。" for template in [_SAFETY_COMMON[0], *templates]]


def draw_rule_paragraph(rng: random.Random) -> list[str]:
    """Draws a paragraph of safety rules, four to seven sentences."""
    return [f"{fill_slots(template, rng)}。" for template in rng.sample(_RULES, rng.randint(4, 7))]
