"""Simulated RS-485 lines: what is said takes its time, everybody hears it, and two who talk at once spoil both."""
