"""What performance.py makes of its numbers, on numbers that are made up, and of programs that fail, on programs that do. Needs Python alone,
but for what is compared of arrays (numpy).

    python3 tests/bench/performance_test.py"""
import argparse
import contextlib
import copy
import importlib.util
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPT = os.path.join(HERE, "performance.py")
sys.path.insert(0, HERE)
import performance  # finds the modules below
import cells as table
import measure
import page
import turns
from cells import COMPILE, JAX, ONNX, TORCH

# A program that answers turns as told by its first word; as tessera it also has a version
FAKE = """
import json, os, sys
if sys.argv[-1] == "--version": sys.exit(print("tessera 0 (fake)"))
kind = sys.argv[1]
if kind == "bench": kind = os.environ.get("FAKE_TESSERA", "good")
for turn, line in enumerate(sys.stdin):
    if kind == "refuses": sys.exit("warning: first\\nModuleNotFoundError: No module named 'timm'")
    if kind == "dies" and turn == 2: sys.exit("Traceback\\nRuntimeError: gone")
    if kind == "killed" and turn == 1: os.kill(os.getpid(), 9)
    if kind == "junk": print("hello"), sys.stdout.flush(), sys.stdin.readline()
    losses = {"nan": [1.0, float("nan")], "null": [None, None], "far": [1.5, 1.0]}.get(kind, [2.0, 1.0])
    print(json.dumps({"ms_per_step": {"median": 2.0}, "cpu_ms_per_step": 1.0, "steps": 3, "peak_rss_mb": 9.0, "peak_gflops_measured": 5.0,
                      "commit": "abc", "losses": losses}), flush=True)
"""


def side(*ms, **more):
    return {"ms": list(ms), "cpu_ms": [1.0], "steps": [3], "busy": [0.0], "peak_rss_mb": 50.0, "version": "X 1", "params": 7, **more}


def same(mode):
    return {what: 1e-6 for what in page.COMPARED[mode]} | ({"name": "head.weight"} if "worst gradient" in page.COMPARED[mode] else {})


def cell(mode="train", model="vit_tiny_patch4_32", precision="f32", batch=64, tessera=(10.0, 10.0, 20.0), busy=0.0, **peers):
    """Peers by the names eager, compiled, jax, onnx: their milliseconds, or a side."""
    names = {"eager": TORCH, "compiled": COMPILE, "jax": JAX, "onnx": ONNX}
    sides = {"tessera": side(*tessera, peak_gflops=[100.0])}
    for name, what in peers.items():
        sides[names[name]] = what if isinstance(what, dict) else side(*what, difference=same(mode))
    return {"mode": mode, "model": model, "precision": precision, "batch": batch, "threads": 2, "machine": "M", "date": "2026-01-02", "commit": "abc",
            "tessera": "tessera 0", "rounds": 3, "seconds": 2.0, "failed": {}, "unproved": "", "others_busy": busy, "macs": 1e6, "sides": sides}


class Page(unittest.TestCase):
    def page(self, *found):
        """The page of these cells, once they have been in a file."""
        return page.render(json.loads(json.dumps(found)), "results/numbers.json")

    def part(self, text, title):
        """The rows of a part of the page, as lists of their cells, without the header."""
        self.assertIn(title, text)
        lines = text.split(title, 1)[1].split("\n#", 1)[0].splitlines()
        return [[c.strip() for c in line.strip("|").split("|")] for line in lines if line.startswith("|") and "---" not in line][1:]

    def test_ratios_are_of_rounds_and_their_median(self):
        text = self.page(cell(eager=(20.0, 9.0, 60.0), compiled=(30.0, 30.0, 30.0)))
        self.assertEqual(self.part(text, "#### Training step, f32, 2 threads"),
                         [["ViT-Ti/4", "64", "10.0", "6400", "2.00 (0.90-3.00)", "3.00 (1.50-3.00)", "38", "19"]])
        self.assertEqual([row[1:] for row in self.part(text, "### Where tessera is slower")], [[TORCH, "10.0", "20.0", "2.00 (0.90-3.00)"]])
        self.assertEqual(self.part(text, "### In short"), [["training step", "f32", "2", "1", "2.00", "2.00", "2.00"]])
        self.assertIn("3 rounds of 2 s", text)
        self.assertNotIn("`*`", text)

    def test_where_no_peer_wins_a_round_the_page_says_so(self):
        self.assertIn("In no round of anything measured here.", self.page(cell(eager=(11.0, 12.0, 21.0))))

    def test_shares_of_the_peak(self):
        """1e6 multiply-accumulates, 64 images, 10 ms, a peak of 100 GFLOP/s: 6.4e9 a second, 2 operations each, forward thrice in a training step."""
        marked = side(5.0, 5.0, 5.0, difference={})
        for mode, title, mine, best in (("train", "#### Training step", "38", "19"), ("infer", "#### Batch 64", "13", "6")):
            shown = self.part(self.page(cell(mode, eager=marked, compiled=(20.0, 20.0, 20.0))), title)[0]
            self.assertEqual(shown[-2:], [mine, best])
            self.assertEqual(self.part(self.page(cell(mode, eager=marked)), title)[0][-2:], [mine, "-"])
        unknown = cell(model="conformer", compiled=(20.0, 20.0, 20.0))
        del unknown["macs"]
        self.assertEqual(self.part(self.page(unknown), "#### Training step")[0][-2:], ["-", "-"])

    def test_a_difference_that_is_no_number_is_other_work(self):
        for what in page.STEP:
            for bad in (float("nan"), float("inf"), 0.5):
                fast = side(5.0, 5.0, 5.0, difference=same("train") | {what: bad})
                text = self.page(cell(eager=fast, compiled=(20.0, 20.0, 20.0)))
                self.assertEqual(self.part(text, "#### Training step")[0][4], "0.50 (0.25-0.50) #")
                self.assertEqual(self.part(text, "### In short")[0][4:], ["2.00", "2.00", "2.00"])  # not the peer that does something else
                self.assertTrue(self.part(text, "### Share of the peak")[0][4].startswith(COMPILE))
                self.assertEqual(self.part(text, "Marked `#`:")[0][:2], ["training step, ViT-Ti/4, f32, batch 64, 2 threads", TORCH])

    def test_single_gradients_have_a_limit_in_f32_only(self):
        for precision, shown in (("f32", "0.50 (0.25-0.50) #"), ("bf16", "0.50 (0.25-0.50)")):
            text = self.page(cell(precision=precision, eager=side(5.0, 5.0, 5.0, difference=same("train") | {"worst gradient": 0.6})))
            self.assertEqual(self.part(text, "#### Training step")[0][4], shown)
        self.assertIn(["worst gradient, head.weight", "bf16", "1", "-", "6.0e-01", "training step, ViT-Ti/4, bf16, batch 64, 2 threads, PyTorch eager"],
                      self.part(text, "### Is it the same work?"))

    def test_gradients_in_bf16_may_be_as_far_apart_as_rounding_explains(self):
        for apart, rounding, shown in ((0.3, [0.2, 0.22], ""), (0.3, None, " #"), (0.36, [0.2, 0.2], " #"), (0.3, [0.2, 0.26], " #"), (0.3, [0.01, 0.3], " #"),
                                       (0.2, [0.01, 0.2], ""), (float("nan"), [0.2, 0.2], " #"), (0.3, [0.2, float("nan")], " #")):
            found = same("train") | {"gradient": apart} | ({"rounding": rounding} if rounding else {})
            text = self.page(cell(precision="bf16", eager=side(5.0, 5.0, 5.0, difference=found)))
            self.assertEqual(self.part(text, "#### Training step")[0][4], "0.50 (0.25-0.50)" + shown, (apart, rounding))
            self.assertEqual("Beyond the limit by rounding" in text, apart == 0.3 and not shown)
        loud = side(5.0, 5.0, 5.0, difference=same("train") | {"gradient": 0.3, "rounding": [0.2, 0.22]})
        self.assertEqual(self.part(self.page(cell(eager=loud)), "#### Training step")[0][4], "0.50 (0.25-0.50) #")  # bf16 alone
        self.assertEqual(self.part(self.page(cell(precision="bf16", eager=loud)), "Beyond the limit by rounding")[0][1:], [TORCH, "0.30", "0.20", "0.22"])

    def test_what_was_not_compared_is_not_proved(self):
        for missing in page.STEP:
            some = same("train")
            some[missing] = None
            text = self.page(cell(eager=side(5.0, 5.0, 5.0, difference=some)) | {"unproved": "tessera forward: [weights] gone"})
            self.assertEqual(self.part(text, "#### Training step")[0][4], "0.50 (0.25-0.50) ?")
            self.assertNotIn("### In short", text)
            self.assertIn("- `?` tessera forward: [weights] gone (training step, ViT-Ti/4, f32, batch 64, 2 threads, PyTorch eager)", text)
        self.assertEqual(self.part(self.page(cell(eager=side(5.0))), "#### Training step")[0][4], "0.50 (0.50-0.50) ?")

    def test_other_numbers_of_parameters_and_models_known_to_differ_are_marked(self):
        text = self.page(cell(eager=side(5.0, difference=same("train")) | {"params": 8}))
        self.assertEqual(self.part(text, "#### Training step")[0][4], "0.50 (0.50-0.50) #")
        self.assertEqual(self.part(text, "Marked `#`:")[0][2:], ["parameters", "8, tessera 7"])
        text = self.page(cell(model="resnet18_cifar_by_shard", eager=(5.0, 5.0, 5.0)))
        self.assertEqual(self.part(text, "#### Training step")[0][4], "0.50 (0.25-0.50) #")

    def test_a_row_measured_beside_other_work_is_marked(self):
        text = self.page(cell(eager=(20.0, 20.0, 20.0), busy=page.BUSY + 0.01), cell(mode="infer", batch=1, eager=(20.0, 20.0, 20.0), busy=page.BUSY))
        self.assertEqual(self.part(text, "#### Training step")[0][0], "ViT-Ti/4 *")
        self.assertEqual(self.part(text, "#### Batch 1")[0][0], "ViT-Ti/4")
        self.assertIn("`*`: other programs", text)

    def test_every_cell_can_be_shown_whatever_of_its_peers_failed(self):
        done, none = [], []
        for c in table.cells([1, 2]):
            found = cell(c["mode"], c["model"], c["precision"], c["batch"]) | {"threads": c["threads"]}
            none.append(found | {"failed": {p: measure.NOT_INSTALLED for p in c["peers"]}})
            done.append(copy.deepcopy(found))
            done[-1]["sides"] |= {p: side(20.0, 20.0, 20.0, difference=same(c["mode"])) for p in c["peers"]}
        text = self.page(*done)
        self.assertEqual(text.count(" ?"), 0)
        self.assertEqual(sum(int(row[3]) for row in self.part(text, "### In short")),
                         sum(c["mode"] in measure.PROVED and c["model"] != "resnet18_cifar_by_shard" for c in done))
        text = self.page(*none)
        self.assertIn(f"- {TORCH}: not installed ({len(none)} rows, the first: ", text)
        self.assertNotIn("### In short", text)
        for c in done + none:
            page.one_line(c)

    def test_the_page_needs_the_file_and_python_alone(self):
        with tempfile.TemporaryDirectory() as folder:
            out, numbers = os.path.join(folder, "performance.md"), os.path.join(folder, "results/numbers.json")
            for found in ([cell(eager=(20.0, 20.0, 20.0)), cell(batch=32, eager=(20.0, 20.0, 20.0))], []):
                performance.save(numbers, list(found))
                subprocess.run([sys.executable, "-I", "-S", "-B", SCRIPT, "--render-only", "--json", numbers, "--out", out], check=True)
                with open(out) as f:
                    self.assertEqual(f.read(), page.render(performance.read(numbers), "results/numbers.json"))
        self.assertIn("Nothing is measured yet.", self.page())


class Measuring(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder, self.peers, self.missing = folder.name, {}, set()
        self.fake = os.path.join(self.folder, "fake.py")
        with open(self.fake, "w") as f:
            f.write(FAKE)
        self.program = os.path.join(self.folder, "tessera")
        with open(self.program, "w") as f:
            f.write(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{self.fake}" "$@"\n')
        os.chmod(self.program, 0o755)
        self.replace(measure, "peer_command", lambda name, spec: [sys.executable, "-I", "-S", self.fake, self.peers.get(name, "good")])
        for module in (measure, performance):
            self.replace(module, "installed", lambda name: name not in self.missing)
        # what needs numpy
        self.replace(performance.Program, "weights", lambda *_: ("start", "moved"))
        self.replace(performance.Program, "onnx", lambda *_: "onnx")
        self.replace(performance.Program, "macs", lambda *_: 1e6)
        self.replace(performance.Program, "answer", self.no_answer)
        os.environ.pop("FAKE_TESSERA", None)

    def no_answer(self, *_):
        raise RuntimeError("no numpy")

    def replace(self, where, name, by):
        self.addCleanup(setattr, where, name, getattr(where, name))
        setattr(where, name, by)

    def run_cells(self, only="memory/.*f32", peers=(TORCH, COMPILE), **more):
        """What the file holds after a run, how many cells failed, and what was printed."""
        a = argparse.Namespace(tessera=self.program, json=os.path.join(self.folder, "n.json"), rounds=2, seconds=0.0, work=None, again=None)
        vars(a).update(more)
        wanted = [c | {"peers": peers} for c in table.cells([1]) if performance.re.search(only, table.key(c))]
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            failures = performance.measure_all(wanted, a)
        return performance.read(a.json), failures, out.getvalue() + err.getvalue()

    def test_a_peer_that_fails_costs_its_column(self):
        for kind, why in {"refuses": "ModuleNotFoundError: No module named 'timm'", "dies": "gone (round 2)", "junk": "it answered 'hello'",
                          "killed": "it was ended by SIGKILL (out of memory?) (round 1)", "nan": "its losses are not finite: 1.0, nan"}.items():
            with self.subTest(kind):
                self.peers = {TORCH: kind}
                (found,), failures, _ = self.run_cells("train/vit_tiny.*f32", again="all")
                self.assertEqual(failures, 0)
                self.assertEqual(list(found["sides"]), ["tessera", COMPILE])
                self.assertEqual(found["sides"][COMPILE]["ms"], [2.0, 2.0])
                self.assertIn(why, found["failed"][TORCH])
                self.assertEqual(found["unproved"], "tessera forward: no numpy")
                self.assertEqual(page.mark(found, COMPILE), "?")
                self.assertEqual(found["commit"], "abc")

    def test_losses_are_compared(self):
        self.peers = {TORCH: "far"}
        (found,), _, _ = self.run_cells()
        self.assertEqual(found["sides"][TORCH]["difference"], {"losses": 0.25})
        self.assertEqual((page.mark(found, TORCH), page.mark(found, COMPILE)), ("#", ""))

    def test_a_cell_that_fails_costs_itself(self):
        os.environ["FAKE_TESSERA"] = "null"  # as JSON has what is not finite
        self.addCleanup(os.environ.pop, "FAKE_TESSERA", None)
        found, failures, printed = self.run_cells("memory/")
        self.assertEqual((found, failures), ([], 2))
        self.assertIn("tessera: its losses are not finite", printed)
        os.environ.pop("FAKE_TESSERA")
        self.replace(measure, "side_of", lambda *_: {}["surprise"])
        found, failures, printed = self.run_cells("memory/")
        self.assertEqual((found, failures), ([], 2))
        self.assertIn("KeyError: 'surprise'", printed)

    def test_what_is_measured_is_not_measured_again_unless_it_would_be_otherwise(self):
        def measured(**more):
            return self.run_cells("matmul/.*f32", **more)[2].count("1/1 ")

        self.missing = {COMPILE}
        self.assertEqual(measured(), 1)
        self.assertEqual(measured(), 0)
        self.missing = set()
        self.assertEqual(measured(), 1)  # it is installed now
        self.assertEqual(measured(), 0)
        self.assertEqual(measured(peers=(TORCH,)), 0)
        self.assertEqual(measured(rounds=1, peers=(TORCH,)), 1)
        self.assertEqual(measured(rounds=1), 1)  # a trial with fewer peers
        self.assertEqual(measured(rounds=1, seconds=0.01), 1)
        self.assertEqual(measured(rounds=1, seconds=0.01), 0)
        self.assertEqual(measured(rounds=1, seconds=0.01, again="all"), 1)
        numbers = os.path.join(self.folder, "n.json")
        for busy, times in ((0.0, 0), (1.0, 1)):
            performance.save(numbers, [c | {"others_busy": busy} for c in performance.read(numbers)])
            self.assertEqual(measured(rounds=1, seconds=0.01, again="busy"), times)
        self.assertEqual(len(performance.read(numbers)), 1)

    def test_missing_peers_are_named_at_the_start(self):
        self.missing = {TORCH, COMPILE}
        (found,), failures, printed = self.run_cells("matmul/.*f32")
        self.assertEqual((list(found["sides"]), failures), (["tessera"], 0))
        self.assertIn("1 cells, 0 of them done; PyTorch eager: not installed; torch.compile: not installed\n", printed)

    def test_what_cannot_be_done_is_one_line(self):
        damaged = os.path.join(self.folder, "damaged.json")
        with open(damaged, "w") as f:
            f.write('{"cells": [')
        numbers = ["--json", os.path.join(self.folder, "m.json"), "--out", os.path.join(self.folder, "m.md"), "--threads", "1"]
        for words, why in {("--only", "^matmul/", "--tessera", "/nowhere/tessera"): "/nowhere/tessera: No such file",
                           ("--only", "^matmul/", "--json", damaged): "damaged.json is not what", ("--only", "nothing"): "no cell has that name"}.items():
            ran = subprocess.run([sys.executable, "-B", SCRIPT, *numbers, *words], capture_output=True, text=True)
            self.assertEqual((ran.returncode, ran.stderr.count("\n")), (1, 1), ran.stderr)
            self.assertIn(why, ran.stderr)
        for words in (["--threads", "4096"], ["--threads", "0"], ["--threads", "two"], ["--only", "("], ["--rounds", "0"], ["--seconds", "nan"]):
            ran = subprocess.run([sys.executable, "-B", SCRIPT, *numbers, *words], capture_output=True, text=True)
            self.assertEqual(ran.returncode, 2, ran.stderr)
            self.assertNotIn("Traceback", ran.stderr)


class Turns(unittest.TestCase):
    def side(self, code):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        side = turns.Side("x", [sys.executable, "-B", "-c", f"import sys; sys.path.insert(0, {os.path.join(HERE, 'peers')!r})\n{code}"], 1,
                          os.path.join(folder.name, "log"))
        self.addCleanup(side.end)
        return side

    def test_a_turn_has_three_steps_and_their_median(self):
        answer = self.side("import turns, time; t = iter([0, 0, 0.2, 0]); turns.serve(lambda: time.sleep(next(t)), {'version': 'X'})").turn(0)
        self.assertEqual((answer["steps"], answer["version"]), (3, "X"))
        self.assertLess(answer["ms_per_step"]["median"], 200)
        self.assertGreaterEqual(answer["ms_per_step"]["max"], 200)

    def test_what_others_do_during_a_turn_is_told_from_what_a_side_does(self):
        work = "import time\ndef work(s):\n  while time.process_time() < s: pass\n"
        side = self.side(work + "for line in sys.stdin: work(0.3), print('{}', flush=True)")
        before = turns.own_ticks(side.group)
        side.turn(0)
        self.assertAlmostEqual((turns.own_ticks(side.group) - before) / os.sysconf("SC_CLK_TCK"), 0.3, delta=0.1)
        other = subprocess.Popen([sys.executable, "-c", work + "work(9)"])
        self.addCleanup(other.wait)
        self.addCleanup(other.kill)
        others = turns.Others(side.group)
        time.sleep(0.4)
        self.assertGreater(others.busy(), page.BUSY)


@unittest.skipUnless(importlib.util.find_spec("numpy"), "needs numpy")
class Proof(unittest.TestCase):
    def setUp(self):
        import numpy as np
        import proof
        self.np, self.proof = np, proof
        rng = np.random.default_rng(3)
        self.ours = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in
                     {"logits": (4, 10), "grad.head.weight": (10, 8), "grad.table": (9, 2), "grad.input": (4, 3)}.items()}
        self.ours["grad.table"] *= 1e-2
        self.ours["grad.key.bias"] = np.full(8, 1e-9, np.float32)  # 0, but for rounding

    def differences(self, **changed):
        names = {"logits": "logits", "head": "grad.head.weight", "table": "grad.table", "bias": "grad.key.bias"}
        theirs = {name: w for name, w in self.ours.items() if name != "grad.input"} | {names[k]: w for k, w in changed.items()}
        return self.proof.differences(theirs, self.ours)

    def test_the_worst_parameter_counts(self):
        self.assertEqual(self.differences()["worst gradient"], 0)
        self.assertLess(self.differences(bias=-self.ours["grad.key.bias"])["worst gradient"], 1e-5)
        for factor, apart in ((0, 1), (1.5, 0.5), (-1, 2)):  # a table that nobody reads, and so on
            found = self.differences(table=self.ours["grad.table"] * self.np.float32(factor))
            self.assertEqual((found["logits"], found["name"]), (0, "table"))
            self.assertAlmostEqual(found["worst gradient"], apart, places=4)
            self.assertLess(found["gradient"], 0.02)
        found = self.differences(head=self.ours["grad.head.weight"] * 2, table=self.ours["grad.table"] * 2, bias=self.ours["grad.key.bias"] * 2)
        self.assertAlmostEqual(found["gradient"], 1, places=6)
        self.assertAlmostEqual(self.differences(logits=self.ours["logits"] * 2)["logits"], 1, places=6)

    def test_what_cannot_be_compared_is_said(self):
        with self.assertRaisesRegex(self.proof.NotFinite, "grad.table is not finite"):
            self.differences(table=self.ours["grad.table"] * self.np.float32("nan"))
        with self.assertRaisesRegex(ValueError, r"grad.table: \(2, 9\), but tessera's is \(9, 2\)"):
            self.differences(table=self.ours["grad.table"].T)
        with self.assertRaisesRegex(ValueError, "grad.head.weight: nothing"):
            self.proof.differences({"logits": self.ours["logits"]}, self.ours)

    def test_all_weights_move_and_variances_stay_positive(self):
        np = self.np
        weights = {"table": np.zeros((9, 2), np.float32), "norm.weight": np.ones(8, np.float32), "bn.running_var": np.ones(50, np.float32),
                   "bn.num_batches_tracked": np.array(3)}
        moved = self.proof.moved(weights)
        self.assertEqual(list(moved), list(weights))
        self.assertTrue(all((moved[n] != weights[n]).all() and moved[n].dtype == np.float32 for n in ("table", "norm.weight")))
        self.assertTrue((moved["bn.running_var"] >= 1).all())
        self.assertEqual(moved["bn.num_batches_tracked"], 3)


if __name__ == "__main__":
    unittest.main()
