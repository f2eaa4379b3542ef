#include "tessera/nn/weights.h"

#include <algorithm>
#include <cmath>

namespace tessera::io {
inline namespace TESSERA_NS {
namespace {

constexpr size_t listed = 6;  // names a list in an error shows; the rest is counted

/// "2 are missing (a, b)"; empty without names.
std::string list(const char* what, const std::vector<std::string>& names) {
  if (names.empty()) return "";
  std::string s = fmt::format("; {} {} ({}", names.size(), what, names[0]);
  for (size_t i = 1; i < std::min(names.size(), listed); ++i) s += ", " + names[i];
  return s + (names.size() > listed ? fmt::format(" and {} more)", names.size() - listed) : ")");
}

/// One tensor of the file and the rows [part / parts, (part + 1) / parts) of the parameter that it fills.
struct Source {
  const TensorInfo* info;
  int part, parts;
};

/// What weights are exchanged in; a table of bytes under a parameter's name is some other thing.
bool holds_numbers(DType t) {
  return t == DType::f64 || t == DType::f32 || t == DType::f16 || t == DType::bf16 || t == DType::i64;
}

bool finite(const TensorFile& file, const TensorInfo& info) {
  const Tensor t = file.read(info.name);
  return std::all_of(t.values().begin(), t.values().end(), [](real v) { return std::isfinite(v); });
}

Shape part_shape(const Params::Entry& entry, const Source& source) {
  Shape s = entry.value.shape();
  if (source.parts > 1 && s.rank > 0 && s[0] % source.parts == 0) s[0] /= source.parts;
  return s;
}

}  // namespace

void save(const Params& params, const std::string& path, Metadata metadata) {
  std::vector<NamedTensor> tensors;
  for (const auto& e : params.entries()) tensors.emplace_back(e.name, e.value);
  metadata.emplace("format", "pt");  // PyTorch's layouts; what other readers look for
  write_tensors(path, tensors, metadata);
}

Metadata load(Params& params, const TensorFile& file, const LoadOptions& options) {
  // 1. who fills whom
  std::map<std::string, std::vector<Source>, std::less<>> sources;
  std::vector<std::string> missing, extra, misshapen, twice, foreign, broken;
  const auto is_fresh = [&](const std::string& name) {
    return std::ranges::find(options.fresh, name) != options.fresh.end();
  };
  std::vector<std::string> names;
  for (const auto& info : file.tensors()) names.push_back(info.name);
  const std::vector<Rename> dialect = rows_for(names, options.dialect);
  for (const auto& info : file.tensors()) {
    const Rename r = renamed(info.name, dialect);
    if (r.to.empty() || is_fresh(r.to)) continue;
    if (!params.find(r.to)) {
      if (!derived_buffer(info.name)) extra.push_back(shown(info.name));
      continue;
    }
    auto& list = sources[r.to];
    const bool taken =
        std::any_of(list.begin(), list.end(), [&](const Source& s) { return s.part == r.part || s.parts != r.parts; });
    if (taken) twice.push_back(r.to);
    list.push_back({&info, r.part, r.parts});
  }
  // 2. do they fit
  std::map<const TensorInfo*, Tensor> fitted;
  for (const auto& entry : params.entries()) {
    if (is_fresh(entry.name)) continue;
    const auto it = sources.find(entry.name);
    if (it == sources.end() || it->second.size() < static_cast<size_t>(it->second[0].parts)) {
      missing.push_back(entry.name);
      continue;
    }
    for (const Source& source : it->second) {
      if (!holds_numbers(source.info->dtype)) {
        foreign.push_back(fmt::format("{} is {}", shown(source.info->name), name(source.info->dtype)));
        continue;
      }
      const Shape want = part_shape(entry, source), have = shape_of(*source.info, file.path());
      if (want == have && !(options.suspects && options.suspects(entry))) continue;
      std::string reason;
      if (options.fit && source.parts == 1) {
        try {
          const Tensor t = options.fit(entry, file.read(source.info->name));
          if (t && t.shape() == want) {
            fitted[source.info] = t;
            continue;
          }
        } catch (const Error& e) {
          reason = e.what();
          if (const size_t facts = reason.find("] "); facts != std::string::npos) reason.erase(0, facts + 2);
          reason = ": " + reason;
        }
      }
      misshapen.push_back(fmt::format("{} is {} in the file, {} in the model{}", shown(source.info->name), have.str(),
                                      want.str(), reason));
    }
  }
  const std::string facts = list("missing", missing) + list("unknown to the model", extra) +
                            list("of another shape", misshapen) + list("given twice", twice) +
                            list("of a type other than F64, F32, F16, BF16 and I64", foreign);
  if (!facts.empty()) {
    fail("weights", "{} does not fit the model of {} tensors{}; check the model's name and options", file.path(),
         params.entries().size(), facts);
  }
  file.verify();
  for (const auto& [_, list] : sources)
    for (const Source& source : list)
      if (!finite(file, *source.info)) broken.push_back(shown(source.info->name));
  if (!broken.empty())
    fail("weights", "{} holds NaN or infinity{}; the file is damaged, or its training diverged", file.path(),
         list("such tensors", broken));
  // 3. read
  for (const auto& entry : params.entries()) {
    if (is_fresh(entry.name)) continue;
    for (const Source& source : sources.find(entry.name)->second) {
      const size_t n = static_cast<size_t>(entry.value.size() / source.parts);
      const auto to = entry.value.rewrite().subspan(static_cast<size_t>(source.part) * n, n);
      if (const auto f = fitted.find(source.info); f != fitted.end()) {
        std::copy_n(f->second.data(), n, to.data());
      } else {
        file.read(*source.info, to);
      }
    }
  }
  return file.metadata();
}

Metadata load(Params& params, const std::string& path, const LoadOptions& options) {
  return load(params, TensorFile(path), options);
}

}  // namespace TESSERA_NS
}  // namespace tessera::io
