#include "tessera/train/training/complete.h"

#include "tessera/models/model.h"
#include "tessera/train/data/named.h"
#include "tessera/train/training/trainer.h"

namespace tessera {
namespace {

/// What does nothing with these data. Not in check(): a run that said it once can still be read.
void check_idle(const RunConfig& c) {
  const DataConfig& d = c.data;
  const std::string kind = d.name.substr(0, d.name.find(':'));
  const data::NamedData* named = data::find_named(d.name);
  const bool own_splits = named && named->own_splits, made = named && named->most_made > 0;
  if (!own_splits && d.val_size == 0 && c.train.eval_every != TrainConfig().eval_every)
    fail("train",
         "train.eval_every is {} but does nothing without a validation split: leave it out, or set data.val_size",
         c.train.eval_every);
  const bool draws = own_splits || made || d.val_size > 0 || d.train_size > 0 || d.fraction < 1;
  if (!draws && d.seed != DataConfig().seed)
    fail("train",
         "data.seed is {} but does nothing with all of {}: leave it out, or set data.val_size, data.train_size or "
         "data.fraction (the order of samples is train.seed's)",
         d.seed, kind);
}

}  // namespace

void complete(RunConfig& c, const data::Source& source, bool handed_over) try {
  check(c);  // once more: now it is known which data
  if (!handed_over) check_idle(c);
  const ModelRow& row = model(c.model);
  if (c.position.empty()) c.position = row.position;
  fit(row, c.model_options, {source.name, source.form(), source.classes});
  check_position(c.position, c.position_options, row.places(c.model_options));  // looks at every value of both
  if (c.data.bucket > 0 && !source.form().ragged())
    fail("data", "data.bucket is {} but does nothing with {}, whose samples have one length: leave it out",
         c.data.bucket, source.name);
  source.reader(c.augment);  // refuses what the samples or their labels do not survive
} catch (const Error& e) {
  throw Misfit(e.what());
}

}  // namespace tessera
