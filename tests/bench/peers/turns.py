"""Processes that measure in turn: what `tessera bench --turns` does, for programs in Python, and the driver's end of both.

A process starts, builds its model, takes a few steps and waits. Every line it is sent is a number of seconds; it warms up for a fifth of that (a step at
least), takes steps for as long (three at least), and answers with one line of JSON. While it waits, the driver has it stopped, so that no idle thread of one
program takes time from another."""
import ctypes
import json
import os
import re
import resource
import select
import signal
import statistics
import subprocess
import sys
import time

START = 2400.0  # seconds for the first answer, compilation included
TURN = 600.0  # for a turn, beside what is asked for
LEAST = 3  # steps of a turn


def repeat(times, seconds, step):
    start, done = time.perf_counter(), 0
    while done < times or time.perf_counter() - start < seconds:
        step()
        done += 1


def serve(step, about):
    """Answers turns on stdin until it ends. `about`: what every answer says beside the times."""
    answers = os.fdopen(os.dup(1), "w")  # libraries may print what they like: it goes to stderr
    os.dup2(2, 1)
    clock, cpu = [], []

    def timed():
        cpu_start, start = time.process_time(), time.perf_counter()
        step()
        clock.append(1e3 * (time.perf_counter() - start))
        cpu.append(1e3 * (time.process_time() - cpu_start))

    for line in sys.stdin:
        seconds = float(line)
        clock.clear(), cpu.clear()
        repeat(1, seconds / 5, step)
        repeat(LEAST, seconds, timed)
        times = {"min": min(clock), "median": statistics.median(clock), "max": max(clock)}
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        answer = {"steps": len(clock), "ms_per_step": times, "cpu_ms_per_step": statistics.median(cpu), "peak_rss_mb": rss, **about}
        print(json.dumps(answer), file=answers, flush=True)


def last_error(lines):
    """The line that says what went wrong, without folders of this machine."""
    named = [line for line in lines if "Error" in line or "error:" in line]
    return re.sub(r"/(?:[\w.+-]+/)+", "", (named or lines or ["it ended without a word"])[-1])[:120].removeprefix("RuntimeError: ")


class Failed(Exception):
    """One line that says why a side does not run."""


def ticks():
    """What all processors have worked so far, what the host took away included."""
    with open("/proc/stat") as f:
        user, nice, system, _, _, irq, soft, steal = map(int, f.readline().split()[1:9])
    return user + nice + system + irq + soft + steal


def own_ticks(session):
    """What the processes of a session, and those that they have waited for, have worked so far."""
    total = 0
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat") as f:
                fields = f.read().rpartition(")")[2].split()  # from the third on: a name may hold blanks
        except OSError:
            continue  # it has ended
        if int(fields[3]) == session:
            total += sum(map(int, fields[11:15]))
    return total


class Others:
    """Processors' worth of work that is not of a session or of this process, from its making on."""

    def __init__(self, session):
        self.session, self.start = session, time.perf_counter()
        self.first = self.ticks()

    def ticks(self):
        return ticks() - own_ticks(self.session) - time.process_time() * os.sysconf("SC_CLK_TCK")

    def busy(self):
        return max(0.0, (self.ticks() - self.first) / os.sysconf("SC_CLK_TCK") / (time.perf_counter() - self.start))


class Side:
    """A process of `command` on the first `threads` CPUs that this one may use; its messages go to the file `log`."""

    def __init__(self, name, command, threads, log, env=None):
        self.name, self.log = name, log
        cpus, libc = sorted(os.sched_getaffinity(0))[:threads], ctypes.CDLL(None)

        def at_start():
            os.sched_setaffinity(0, cpus)
            libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: nobody would wake it when the driver is gone

        with open(log, "w") as errors:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, bufsize=1, env=env,
                                            start_new_session=True, preexec_fn=at_start)
        self.group = self.process.pid

    def turn(self, seconds, wait=TURN):
        """What the side answers to so many seconds, and `busy`: how much else went on meanwhile. Throws Failed when it does not within `wait` seconds more."""
        try:
            others = Others(self.group)
            os.killpg(self.group, signal.SIGCONT)
            self.process.stdin.write(f"{seconds}\n")
            self.process.stdin.flush()
            ready, _, _ = select.select([self.process.stdout], [], [], wait + seconds)
            line = self.process.stdout.readline() if ready else ""
            if not line:
                raise Failed(self.last_words() if ready else f"no answer in {wait + seconds:.0f} s")
            os.killpg(self.group, signal.SIGSTOP)
            return {**json.loads(line), "busy": others.busy()}
        except (BrokenPipeError, ProcessLookupError):
            raise Failed(self.last_words()) from None
        except (ValueError, TypeError):
            raise Failed(f"it answered {line.strip()[:60]!r}, which is no JSON object") from None

    def last_words(self):
        try:
            code = self.process.wait(10)
        except subprocess.TimeoutExpired:
            code = 0
        if code < 0:
            return f"it was ended by {signal.Signals(-code).name}" + (" (out of memory?)" if -code == signal.SIGKILL else "")
        with open(self.log, errors="replace") as f:
            lines = [line.strip() for line in f if line.strip()]
        return last_error(lines)

    def end(self):
        try:
            os.killpg(self.group, signal.SIGCONT)
            self.process.stdin.close()
            self.process.wait(10)
        except (OSError, ValueError, subprocess.TimeoutExpired):
            pass
        try:
            os.killpg(self.group, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.process.stdout.close()
