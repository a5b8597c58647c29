"""Simulated DLMS/COSEM meters: the server's side, over the TCP wrapper and over HDLC on a simulated line.

Association, services and protection are written here from the standard and share nothing with the agent's driver;
what is shared, octets and frames, comes through one door (`codec`).
"""
