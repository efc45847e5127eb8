"""Runs generated Python confined, and judges it by tests in another process. docs/sandbox.md tells what is promised."""

from gemma_align.sandbox.records import LAYERS, Grade, Limits, Program, SandboxUnavailable
from gemma_align.sandbox.sandbox import Sandbox

__all__ = ["LAYERS", "Grade", "Limits", "Program", "Sandbox", "SandboxUnavailable"]
