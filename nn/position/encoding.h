#pragma once
// What the files of this folder share. An encoding is a struct with
//   struct Config { ... };                                  its options and their defaults
//   static Fields<Config> fields();                         their names, help and domains
//   static void check(const Config&);                       throws Error when they do not go together    (optional)
//   static std::string refuses(const Places&, const Config&);   why it cannot run in such a model, or ""   (optional)
//   E(const Scope& net, const Places&, const Config&);      creates its parameters
// and a function `Encoding e()` that registry.cpp names in its row.
#include "tessera/core/memo.h"
#include "tessera/nn/position.h"

namespace tessera {
inline namespace TESSERA_NS {

/// The part of a PositionRow that is code.
struct Encoding {
  Options defaults;
  std::function<MakePosition(const Options&)> make;
  std::function<std::string(const Places&, const Options&)> refuses;
  std::map<std::string, std::string, std::less<>> help;
  Domains domains;
};

template <class E>
Encoding encoding(const typename E::Config& defaults = {}) {
  using Config = typename E::Config;
  const auto configured = [defaults](const Options& options) {
    Config c = defaults;
    assign(c, E::fields(), options, "position.");
    check_fields(c, E::fields(), "position.", defaults);
    if constexpr (requires { E::check(c); }) E::check(c);
    return c;
  };
  Encoding e;
  e.defaults = read(defaults, E::fields());
  for (const auto& f : E::fields()) e.help[f.name] = f.help;
  e.domains = domains(E::fields());
  e.make = [configured](const Options& options) -> MakePosition {
    const Config c = configured(options);
    return [c](const Scope& net, const Places& at) { return std::make_unique<E>(net, at, c); };
  };
  if constexpr (requires(const Places& at, const Config& c) { E::refuses(at, c); }) {
    e.refuses = [configured](const Places& at, const Options& options) { return E::refuses(at, configured(options)); };
  } else {
    e.refuses = [](const Places&, const Options&) { return std::string(); };
  }
  return e;
}

Encoding none();
Encoding learned();
Encoding frozen_random();
Encoding sinusoidal();
Encoding sincos2d();
Encoding pvt();
Encoding shaw();
Encoding shaw_kv();
Encoding shaw_axial();
Encoding shaw_axial_kv();
Encoding axial_sum();
Encoding conformer_shaw();
Encoding transformer_xl();
Encoding transformer_xl_axial();
Encoding transformer_xl_learned();
Encoding music_transformer();
Encoding music_transformer_2d();
Encoding huang1();
Encoding huang2();
Encoding huang3();
Encoding huang4();
Encoding sasa();
Encoding irpe();
Encoding relative_position_bias();
Encoding log_cpb();
Encoding cpe();
Encoding cpe_raster();
Encoding peg();
Encoding rope();
Encoding rope_axial();
Encoding rope_dinov3();
Encoding rope_mixed();
Encoding polar();
Encoding gta();
Encoding spiral();
Encoding golden_gate();
Encoding cayley_string();
Encoding harope();
Encoding wavelet();
Encoding lie();
Encoding comrope_ld();
Encoding comrope_ap();
Encoding pope();
Encoding alibi();
Encoding alibi_2d();
Encoding t5();
Encoding t5_axial();
Encoding kerple_log();
Encoding kerple_power();
Encoding fire();
Encoding levit();
Encoding gpsa();
Encoding lookhere();
Encoding factorised();
Encoding pape();
Encoding pape_ri();
Encoding content_alibi();
Encoding forget();
Encoding forget_profiles();

}  // namespace TESSERA_NS
}  // namespace tessera
