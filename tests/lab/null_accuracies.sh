#!/bin/bash
# Writes what tests/cli/lab_null.cpp draws its experiments of real seeds from: the test accuracies of one configuration with many seeds, one a
# line under the heading acc1. By default 40 small ViTs on 4,000 pictures of Fashion-MNIST, 3 seconds each; further words of `tessera ablate` say
# otherwise, and a folder that is there already is gone on with.
#
#   tests/lab/null_accuracies.sh build/dev/tessera [FOLDER] [ABLATE WORDS ...] > tests/cli/data/null_accuracies.csv
#
# Accuracies are to differ: of a test set of few images, or a task that every seed solves, many are the same number, and a test of equal
# numbers is none.
set -eu
program=$(realpath "$1")
folder=${2:-$(mktemp -d)}
shift $(($# < 2 ? $# : 2))
if [ $# = 0 ]; then
  set -- --position learned --data fashion-mnist recipe=vit_cifar10_small --epochs 3 data.train_size=4000 model.depth=2 \
    model.embed_dim=32 model.num_heads=2 augment.crop=0 augment.flip=false optim.lr=3e-3 sched.warmup_epochs=0.5
fi
"$program" ablate --out "$folder" --seeds 1..40 --measures accuracy "$@" >&2
# one configuration has no commas in its columns
awk -F, 'NR == 1 { for (c = 1; c <= NF; ++c) if ($c == "last_acc1") at = c; print "acc1"; next } { print $at }' "$folder/results.csv"
