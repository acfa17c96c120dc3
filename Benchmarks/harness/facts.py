"""What machine a run was on: without it its figures mean nothing."""

import datetime
import os
import platform
import subprocess


def first_line(path, key):
    try:
        with open(path) as file:
            return next((line.split(":", 1)[1].strip() for line in file if line.startswith(key)), "")
    except OSError:
        return ""


def contents(path):
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return "unknown"


def machine():
    try:
        compiler = subprocess.run([os.environ.get("CC", "cc"), "--version"], capture_output=True, text=True).stdout.splitlines()[0]
    except (OSError, IndexError):
        compiler = "unknown"
    return {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "processor": first_line("/proc/cpuinfo", "model name") or platform.machine(),
        "processors": os.cpu_count(),
        "memory": first_line("/proc/meminfo", "MemTotal"),
        "kernel": platform.release(),
        "compiler": compiler,
        "transparent_hugepage": contents("/sys/kernel/mm/transparent_hugepage/enabled"),
        "load": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }
