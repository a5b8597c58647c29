"""计量、档案与数据类疑点的说法：实测了什么、与什么相比、下一步做什么。"""

from __future__ import annotations

SENTENCES: dict[str, str] = {
    # 示值与采样功率相比
    "finding.title.met-stop": "疑似电能表停走",
    "finding.seen.met-stop": (
        "截至 {end}，计量点 {point} 电能表的有功电能示值已有 {still_min} 分钟未变，"
        "而电能表显示的功率表明至少有 {missed_kwh} kWh（表侧）通过。"
    ),
    "finding.action.met-stop": (
        "在电能表显示屏上相隔数分钟两次抄读示值和功率；确已停走的，送检电能表，并按采样功率补计电量。"
    ),
    "finding.title.met-fly": "疑似电能表飞走",
    "finding.seen.met-fly": (
        "{start} 至 {end} 之间，计量点 {point} 电能表的有功电能示值走了 {moved_kwh} kWh（表侧），"
        "至少为可能通过电量的 {judged} 倍。"
    ),
    "finding.action.met-fly": "将显示屏上的示值与最近的读数比对；电能表检定之前，该电量不出账。",
    "finding.title.met-energy-error": "电能量超差：示值电量与所显示的功率不符",
    "finding.seen.met-energy-error": (
        "在 {end} 结束的一天中，计量点 {point} 电能表的示值电量至少为采样功率累计电量的 {rho} 倍；"
        "两者相差至少 {share}。"
    ),
    "finding.action.met-energy-error": "送检电能表；将其脉冲常数和变比设置与铭牌、档案比对。",
    # 电能表旁的独立互感器
    "finding.title.met-ratio-mismatch": "电流互感器变比与档案倍率不符",
    "finding.seen.met-ratio-mismatch": (
        "在计量点 {point}，{said_by}表明变比为 {ratio}（{fits}），而档案为 {archive}；两者相差至少 {share}。"
    ),
    "finding.action.met-ratio-mismatch": ("先核对档案，再到现场逐相查看电流互感器铭牌，并查看电能表内的变比设置。"),
    "finding.title.met-unmetered-current": "独立测流大于计量电流",
    "finding.seen.met-unmetered-current": (
        "截至 {end} 的各日，计量点 {point} 的 {phase} 相独立互感器测得的电流比电能表至少大 {unseen_a} A（{kind}），"
        "由 {pairs} 对同一时段的平均值得出。"
    ),
    "finding.action.met-unmetered-current": (
        "用钳形表在两处同时测量，并沿导线逐段查看；检查独立互感器的安装位置和计量互感器的二次回路。"
    ),
    # 档案
    "finding.title.dat-unknown-meter": "应答的电能表与档案中该计量点的电能表不同",
    "finding.seen.dat-unknown-meter": ("计量点 {point} 的设备 {device} 两次报出的编号均为 {shown}；档案为 {archive}。"),
    "finding.action.dat-unknown-meter": (
        "向计量部门查询换表记录和新旧表示值；将表号、电能表与更换日期录入档案，或到现场查看铭牌。"
    ),
    "finding.title.tar-archive-mismatch": "档案与电能表不一致",
    "finding.seen.tar-archive-mismatch": "计量点 {point} 的电能表两次报出{field}为 {shown}；档案为 {archive}。",
    "finding.action.tar-archive-mismatch": "核对档案、合同与铭牌；哪一方有误，就更正档案或重设电能表。",
    "finding.title.tar-tou-schedule": "时段表或时区不符：电能表的费率切换与档案时段表不同",
    "finding.seen.tar-tou-schedule": (
        "当地时间 {local_start} 至 {local_end}，计量点 {point} 的电能表在费率 {counted} 至少计入 {wrong_kwh} kWh"
        "（表侧），而档案时段表此时为费率 {expected}；该费率计入 {right_kwh} kWh。"
        "档案当日时段表（费率与时段）：{table}。各费率示值（kWh）：之前 {registers_before}，之后 {registers_after}。"
    ),
    "finding.action.tar-tou-schedule": (
        "将公布的时段表、档案时段表与电能表内的设置逐项核对，并核对各自的费率编号；更正有误的一方，"
        "并按费率重新核算该期间的电量。这是供电企业自身的设置问题，与客户用电无关。"
    ),
    # 数据
    "finding.title.dat-clock": "电能表时钟超差",
    "finding.seen.dat-clock": (
        "计量点 {point} 的电能表时钟显示 {shown}，比网关时钟至少{way} {off_s} 秒（网关时钟：{gateway_clock}）。"
    ),
    "finding.action.dat-clock": "校正电能表时钟，并核查自上次准确以来由它标时的数据。",
    "finding.title.dat-missing": "采集缺数：一天中缺少读数",
    "finding.seen.dat-missing": (
        "在 {end} 结束的一天的 {expected} 个周期中，计量点 {point} 有 {valid} 个有数值；"
        "其余周期中有 {agent_down} 个是网关自身未运行。缺数时段（自当日零时起的时刻）：{gaps}。"
    ),
    "finding.action.dat-missing": (
        "网关未运行的，检查网关电源；否则检查线路和电能表。缺数时段可从电能表的负荷记录补读，必要时人工补读。"
    ),
    "finding.title.dat-agent-health": "网关自检异常",
    "finding.seen.dat-agent-health": (
        "截至 {end}，网关自检项“{what}”为 {amount}，限值为 {allowed}；尚有 {owed} 条消息未送达主站，最早的一条已等待 "
        "{oldest_s} 秒。"
    ),
    "finding.action.dat-agent-health": (
        "积压、最早未送达：检查网络和主站的确认。时钟：检查对时来源。磁盘：检查存储所在分区的剩余空间（MiB）。"
    ),
    "finding.title.met-sum-rates": "电能表示值不平：总示值与各费率示值之和不符",
    "finding.seen.met-sum-rates": (
        "计量点 {point} 的电能表总示值为 {total} kWh，各费率示值为 {rates} kWh（表侧），读取时刻相差不超过 "
        "{spread_ms} 毫秒；两者相差 {off_kwh} kWh，允许 {allowed_kwh} kWh。"
    ),
    "finding.action.met-sum-rates": "在电能表显示屏上抄读全部示值，并送检电能表。",
    "finding.title.dat-implausible": "数据不合理：设备给出不可能的数值",
    "finding.seen.dat-implausible": (
        "截至 {end}，计量点 {point} 的设备 {device} 显示：{what}，{shown}；限值为 {largest}。"
    ),
    "finding.action.dat-implausible": "与电能表显示屏比对；检查档案中的变比、设备模板的数据项表和线路。",
    "finding.title.met-main-sub": "电量差动异常：总表与分表之差超过通常损耗",
    "finding.seen.met-main-sub": (
        "在 {end} 结束的一天中，计量点 {point} 的总表计得 {main_kwh} kWh，其下各表（{subs}）计得 {subs_kwh} kWh；"
        "两者之差至少 {loss_kwh} kWh，通常损耗为 {expected_kwh} kWh（{balance}）。"
    ),
    "finding.action.met-main-sub": (
        "将这些电能表的变比和方向与档案比对；查找没有电能表的回路，并在同一天现场抄读全部示值。"
    ),
    # 不能判定的原因
    "verdict.rates_not_all_read": "四个费率示值未全部读取：电能表可能还有未读的费率",
    "verdict.no_schedule": "档案中没有该计量点的时段表",
    "verdict.rate_not_read": "没有读取档案时段表所列费率的示值",
    "verdict.rates_do_not_add_up": "各费率示值的变化之和与总示值的变化不符",
    "verdict.clock_unknown": "不知道电能表时钟的偏差：此前和此后没有读到时钟",
    "verdict.clock_off": "电能表时钟偏差达五分钟或以上，而费率按该时钟切换",
    "verdict.clocks_change": "当日有夏令时切换",
    "verdict.holidays_unknown": "节假日历没有该年的日期",
    "verdict.read_apart": "各示值不是在同一时刻读取的",
    "verdict.first_day": "该计量点自当日开始采集",
    "verdict.not_known": "网关的这一项未知",
    "verdict.gateway_clock": "网关自身的时钟没有可靠的对时来源",
    "verdict.says_nothing": "电能表给出的内容无法比较",
    "verdict.too_few": "成对数值或天数尚不够",
    "verdict.no_spread": "负荷几乎不变，无法得出变比",
    "verdict.fact_unknown": "所依据的档案项未知",
    "verdict.not_in_archive": "档案中没有该项",
    "verdict.ratio_not_set": "电能表内没有设置变比：显示的是表侧数值",
    "verdict.ambiguous": "符合不止一种解释",
    "verdict.no_data": "没有实测数据",
    "verdict.wrong_shape": "实测数据彼此不对应",
    "verdict.too_small": "太小，无法判定",
    "verdict.out_of_order": "不晚于先前所见",
    "verdict.looks_ratio": "像是另一个变比",
    "verdict.looks_constant": "像是电能表之外有一个恒定电流",
    "verdict.looks_shunt": "缺少一定比例的电流，没有标准变比可以解释",
    "verdict.looks_intermittent": "时而一致，时而不一致",
    "verdict.looks_less": "独立互感器测得的小于电能表：先检查它的安装",
    "verdict.register_or_power_missing": "缺少示值或采样功率",
    "verdict.too_little_expected": "应有电量太少，示值的一个分度无法分辨",
    "verdict.stands_so_far": "示值未变，但时间尚不够长，不能判定",
    "verdict.alike_so_far": "各量值未变，其间电能示值的变化尚不知，不能判定",
    "verdict.coverage": "缺失的时间太多",
    "verdict.fact_changed": "期间档案项有变更：重新开始统计",
    "verdict.not_possible": "读数不是电能表可能给出的",
    "verdict.not_a_number": "读数不是数字",
}
