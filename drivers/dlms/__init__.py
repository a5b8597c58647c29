"""DLMS/COSEM without a wire: what is said to a smart meter to read it, and what its answers mean.

The parts, from the wire inwards: `hdlc` (with `hdlc_frame`) and `wrapper` are the data links; `association` opens,
proves and ends an association, out of `acse` and `initiate`, and puts `protection` on and off, which counts with
`counters`; `reading` is one GET with its blocks, out of `xdlms` and `selection`; `axdr` and `cosem_time` give typed
values, `objects` and `units` their meaning; `refused` holds every way of saying no. `octets` and `ber` cut.

Logical names, security suite 0 (glo, ded, general-glo, general-ded), no authentication, LLS and HLS-5 GMAC. Short
names, suites 1 and 2, mode E, general block transfer and pushes are recognised and not spoken. Nothing here writes: the
only action is the one that proves an association, and the gate (`drivers.gate_dlms`) passes no other.

Source: IEC 62056-46, -47, -5-3, -6-2 (DLMS UA 1000-1 and 1000-2).
"""
