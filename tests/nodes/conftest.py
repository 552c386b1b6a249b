"""Nodes without a server: their functions are called in this process, on the CPU."""

from in_process import import_pack

# Without a ComfyUI their modules cannot be imported (python3 scripts/test.py brings one).
collect_ignore_glob = [] if import_pack() else ["*"]
