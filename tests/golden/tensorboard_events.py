#!/usr/bin/env python3
"""Events of a small run as TensorBoard's own writer frames them: tests/golden/data/events.tfevents.

The same run as tests/cli/tensorboard.cpp makes; pip install tensorboard==2.21.0. With a path, reads that file with TensorBoard's own
reader and prints what it finds, one scalar a line: what `tessera train --tensorboard` wrote.
"""
import pathlib
import sys

from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

DATA = pathlib.Path(__file__).parent / "data" / "events.tfevents"


def run():
    """The version, then (seconds, step, scalars) of each line of metrics.jsonl."""
    yield Event(file_version="brain.Event:2")
    for seconds, step, split, loss, acc1, lr, rate in [
        (1.5, 10, "train", 2.25, 0.125, 0.001, 1000.5),
        (2.5, 10, "val", 2.0, 0.3125, None, None),
        (4.0, 300, "train", 1.1, 0.7, 0.0005, 990.0),
        (4.5, 300, "test", 1.2, 0.65, None, None),
    ]:
        values = [("loss/" + split, loss), ("accuracy/" + split, acc1)]
        if split == "train":
            values += [("learning_rate", lr), ("images_per_s", rate)]
        yield Event(wall_time=seconds, step=step,
                    summary=Summary(value=[Summary.Value(tag=tag, simple_value=v) for tag, v in values]))


def show(path):
    for data in RawEventFileLoader(str(path)).Load():
        event = Event.FromString(data)
        if event.file_version:
            print("version", event.file_version)
        for value in event.summary.value:
            print(f"{event.wall_time} {event.step} {value.tag} {value.simple_value:.7g}")


def main():
    if len(sys.argv) > 1:
        return show(sys.argv[1])
    with open(DATA, "wb") as f:
        writer = RecordWriter(f)
        for event in run():
            writer.write(event.SerializeToString(deterministic=True))
        writer.flush()
    show(DATA)


if __name__ == "__main__":
    main()
