"""Where the levels of the shipped releases come from, word for word as their files say it.

A page in another language says them in its own; a source that stands in no line here is shown as it was published.
"""

from __future__ import annotations

SENTENCES: dict[str, str] = {
    "report.limit.cap-demand-forecast.info": (
        "projection above the contract's limit from 5 min on, once an interval [C]"
    ),
    "report.limit.cap-demand-over.warning": (
        "the part above 105 % of the contracted demand is charged double [V3], or as the site's tariff rule says"
    ),
    "report.limit.cap-expansion-suspect.major": (
        "more capacity than agreed by equipment added or exchanged, 供电营业规则 2024 Art. 101 [M]; 1996 Art. 100 [V2]"
    ),
    "report.limit.cap-heavy-load.notice": (
        "heavy load 80-100 % for 2 h or more, operating classes of the grid company [M]"
    ),
    "report.limit.cap-over-contract.notice": "use over contracted capacity, 供电营业规则 2024 Art. 101 [M]",
    "report.limit.cap-over-contract.warning": "the 105 % of the two-part tariff taken over as tolerance [C]",
    "report.limit.cap-over-contract.major": "repeated on days of a month [C]",
    "report.limit.cap-overload-sustained.warning": (
        "overload above 100 % for 2 h or more, operating classes of the grid company [M]"
    ),
    "report.limit.cap-reverse-overload.notice": (
        "heavy load 80-100 % for 2 h or more, taken over for the other direction [M]"
    ),
    "report.limit.cap-reverse-overload.warning": (
        "overload above 100 % for 2 h or more, taken over for the other direction [M]"
    ),
    "report.limit.cap-suspended-use.major": (
        "use of suspended or sealed equipment, 供电营业规则 2024 Art. 101 [M]; 1996 Art. 100 [V]"
    ),
    "report.limit.cap-thermal.notice": "hot spot above 98 degrees for 15 min, GB/T 1094.7 [V]",
    "report.limit.cap-thermal.warning": "mean ageing of 24 h above 1, GB/T 1094.7 [V]",
    "report.limit.cap-thermal.major": "hot spot above 120 degrees in normal cyclic loading, GB/T 1094.7 [V]",
    "report.limit.dat-agent-health.notice": "backlog over 80 %, oldest over 24 h, unsynced over 1 h for 10 min [C]",
    "report.limit.dat-agent-health.warning": "as above, second limits [C]",
    "report.limit.dat-agent-health.major": "as above, third limits [C]",
    "report.limit.dat-clock.notice": "firmwares wait 1 to 10 min [X]; 60 s on two reads [C]",
    "report.limit.dat-clock.warning": "a broadcast corrects no more than 5 min, DL/T 645 [M]",
    "report.limit.dat-clock.major": "10 min in the meter's profile of one province [V], or the date wrong [C]",
    "report.limit.dat-comm.notice": "ERC31: reading failed, with last good time [V]; 15 min [C]",
    "report.limit.dat-comm.warning": "a day without readings [C]",
    "report.limit.dat-implausible.notice": (
        "power over twice the contract, value frozen for 8 reads with current, practice [V]; on two reads [C]"
    ),
    "report.limit.dat-missing.notice": "valid over expected under 0.95, practice [C]",
    "report.limit.dat-missing.warning": "under 0.80, practice [C]",
    "report.limit.dat-unknown-meter.warning": "ERC35: unknown meter [V]; read twice [C]",
    "report.limit.met-cover.major": (
        "ERC37/38 cover, terminal cover: counter + 1, at once [V]; counts 03300D00, 03300E00 [V]"
    ),
    "report.limit.met-ct-overrange.cn-terminal-zj.warning": (
        "over-current, provincial terminals: 15 min [V], others 5 [X]; the limit as OI 3005 [V2]"
    ),
    "report.limit.met-ct-overrange.notice": (
        "S class is guaranteed to 120 % of In [V]; OI 3005: I > 1.2 Imax for 60 s [V2]"
    ),
    "report.limit.met-ct-overrange.warning": "15 min for a warning (domain rule 5.2)",
    "report.limit.met-ct-oversized.notice": (
        "not under 30 % of In, S class 20 % (DL/T 448, GB/T 50063 [V]); which class it is, the archive does "
        "not say: the lower one"
    ),
    "report.limit.met-curr-loss.cn-terminal-zj.warning": (
        "provincial terminals: 1 min [V], others 15 [X]; I < 0.5 % In as OI 3004 [V2], ERC9 itself [M]"
    ),
    "report.limit.met-curr-loss.warning": (
        "OI 3004: I < 0.5 % In for 60 s [V2]; 15 min for a report (domain rule 5.2)"
    ),
    "report.limit.met-decrease.major": "ERC27: new register below the previous one [V]; 0.01 kWh",
    "report.limit.met-energy-error.warning": "ERC28: energy against power [V]; 5 % over 24 h on 2 days [C]",
    "report.limit.met-fly.major": "ERC29: more than 10 times what the power says, provincial default [V]",
    "report.limit.met-magnetic.major": (
        "counter + 1, at once; OI 302A [M]; count 03350000, a State Grid extension [V]; the meter's own "
        "delay 0-60 s [X]"
    ),
    "report.limit.met-main-sub.warning": (
        "ERC22: difference of two points [V]; over max(3 sigma, 3 %), or under -1 %, on 3 days in a row [C]"
    ),
    "report.limit.met-param-change.warning": (
        "ERC8, ERC13: parameters changed, counters of programming and demand reset changed [V]; 03300000, 0200 [V]"
    ),
    "report.limit.met-param-change.major": "清零 weighs more than programming [C]; counts 03300100, 03300300 [V]",
    "report.limit.met-phase-break.cn-terminal-zj.warning": (
        "OI 3003: U < 60 % Un for 60 s [V2]; terminals 1 min, others 15 [X]"
    ),
    "report.limit.met-phase-seq.warning": (
        "OI 300F, 3010 [V2]; 15 min (domain rule 5.2): four words, 5 min apart as profiles ask for them [C]"
    ),
    "report.limit.met-power-consistency.notice": (
        "domain rule 4.6: 3 % and class, 3 of 4 samples and 15 min (Chandel and Thakur 2019 [V]); notice: "
        "distortion of 50 % alone moves it by 0.11 [C]"
    ),
    "report.limit.met-power-consistency.major": (
        "what no distortion explains, and every lost or reversed element of a balanced load does (2/3, 1/3, "
        "-1/3) [C]; major: domain rule 5.2"
    ),
    "report.limit.met-ratio-mismatch.major": (
        "slope against the archive over max(3 SE, 0.02 + classes) on 3 days in a row [C]; regression of Yip "
        "et al. 2017 [V]; parameters changed without consent, provincial rules [V]"
    ),
    "report.limit.met-reverse.warning": (
        "OI 3007: -P > 0.5 % of the base power of the phase for 60 s [V2]; report and terminals 15 min [V]"
    ),
    "report.limit.met-stop.major": (
        "ERC30: register unchanged for n times 15 min while 0.1 kWh are expected [V]; n = 4 [C]"
    ),
    "report.limit.met-sum-rates.warning": "truncation of n rate registers and of the total [C]; two reads [C]",
    "report.limit.met-unbalance-i.notice": "OI 301E: 30 % [V2]; 15 min for a report (domain rule 5.2)",
    "report.limit.met-unbalance-i.warning": "OI 302D, severe: 90 % [V2]; 15 min for a report (domain rule 5.2)",
    "report.limit.met-unmetered-current.major": (
        "constant part over max(3 SE, 2 % of rated) on 3 days in a row [C]; regression of Yip et al. 2017 [V]"
    ),
    "report.limit.met-volt-loss.cn-terminal-zj.warning": (
        "OI 3000: U < 78 % Un for 60 s [V2]; terminals 1 min, others 15 [X]"
    ),
    "report.limit.met-volt-loss.cn-terminal-zj.major": "longer than 24 h: seen on three days running [C]",
    "report.limit.pq-outage.warning": "OI 3011: U < 60 % Un [M]; 60 s (domain rule 5.4)",
    "report.limit.pq-unbalance-u.notice": (
        "2 % for 95 % of a day: more than a twentieth of the quarter hours of 24 h [C], GB/T 15543 [V2]"
    ),
    "report.limit.pq-unbalance-u.warning": "4 % for a short time, GB/T 15543 [V2]; one window (domain rule 5.4)",
    "report.limit.pq-volt-deviation.notice": "three windows (domain rule 5.4)",
    "report.limit.pq-volt-event.warning": "OI 3001, 3002: 60 s [V2]",
    "report.limit.tar-archive-mismatch.warning": (
        "the archive is kept in step with the field, key items by dedicated staff [V]; read twice [C]"
    ),
    "report.limit.tar-capacity-rule.notice": (
        "two-part from 315 kVA, single-part up to 100 kVA, 发改价格〔2023〕526号 [M]; standards from 100 kVA [V]"
    ),
    "report.limit.tar-class-shape.warning": "another class of use is nearer by 0.10 in four weeks in a row [C]",
    "report.limit.tar-export-undeclared.warning": (
        "more than 1 kWh a day on two days in a row [C]; own generation without consent, 供电营业规则 2024 [M]"
    ),
    "report.limit.tar-pf.notice": "standards of 0.90, 0.85 and 0.80, power factor rule of 1983 [V]; table [M]",
    "report.limit.tar-pf.warning": "more than 0.10 below the standard: the bill grows by 5 % and more [M]",
    "report.limit.tar-step-tier.info": (
        "90 % of a step, and the step itself, once each [C]; steps: NDRC 2011-2617 and the provinces' [V, M]"
    ),
    "report.limit.tar-tou-schedule.warning": "any difference of the tables [V]; two reads in a row [C]",
}
