#!/bin/bash
# The long form of tests/cli/ablate.cpp, by hand: a study of 3 encodings and 2 seeds on `where`, undisturbed and disturbed, must leave the same
# results.csv. About ten minutes on two cores.
#
#   tests/lab/ablate_long.sh build/dev/tessera [FOLDER]
set -u
program=$(realpath "$1")
folder=${2:-$(mktemp -d)}
mkdir -p "$folder" && cd "$folder" || exit 1
unset TESSERA_DATA TESSERA_THREADS TESSERA_ISA
plan="--positions none,learned,rope_axial --seeds 1..2 --data where --epochs 3 data.train_size=4000 data.test_size=500 --measures accuracy,shift"
bad=0

study() { "$program" ablate --out "$1" $plan "${@:2}" 2>> "$1.log"; }
begin() { study "$1" --emit mpi > /dev/null; }
worker() { exec "$program" ablate --worker --out "$1" --threads 1 --stale-after 5 2>> "$1.log"; }
same() {
  if cmp -s undisturbed/results.csv "$1/results.csv"; then echo "same: $1 ($2)"; else echo "DIFFERS: $1 ($2)"; bad=1; fi
}

start=$SECONDS
study undisturbed || exit 1
took=$((SECONDS - start))
echo "undisturbed: $took s"
if ((took > 180)); then echo "SLOW: 3 minutes are enough"; bad=1; fi

# killed three times, each time with all its children or without them, then left alone
for i in 1 2 3; do
  study killed --stale-after 5 & pid=$!
  sleep $((5 + RANDOM % 15))
  child=$(pgrep -P $pid | head -1)
  kill -9 "${child:-$pid}" $pid 2> /dev/null
  wait $pid 2> /dev/null
done
study killed --stale-after 5 || bad=1
same killed "killed -9 three times"

# four workers: two are killed, one lives an hour later, one is put to sleep for longer than it may be silent
begin four
cat > clock.c <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
int clock_gettime(clockid_t c, struct timespec* t) {
  int (*real)(clockid_t, struct timespec*) = dlsym(RTLD_NEXT, "clock_gettime");
  int r = real(c, t);
  if (!r && c == CLOCK_REALTIME) t->tv_sec += 3600;
  return r;
}
time_t time(time_t* to) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  if (to) *to = t.tv_sec;
  return t.tv_sec;
}
C
cc -shared -fPIC -o clock.so clock.c -ldl || exit 1
worker four & a=$!
worker four & b=$!
(export LD_PRELOAD="$PWD/clock.so"; worker four) & c=$!
worker four & d=$!
sleep 10
kill -9 $a
kill -STOP $d
sleep 12
kill -9 $b
kill -CONT $d
wait $c $d || bad=1
same four "two of four killed, one an hour off, one asleep for 12 s"

if command -v mpirun > /dev/null; then
  study mpi --emit mpi --jobs 2 > mpi.sh && sh mpi.sh --oversubscribe --allow-run-as-root 2>> mpi.log || bad=1
  same mpi "mpirun -n 2"
else
  echo "skipped: no mpirun"
fi

study slurm --emit slurm --jobs 2 --threads 1 > slurm.sh
for task in 1 2; do SLURM_ARRAY_TASK_ID=$task SLURM_CPUS_PER_TASK=1 bash slurm.sh 2>> slurm.log & done
wait
same slurm "two tasks of an array"
exit $bad
