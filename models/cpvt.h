#pragma once
#include "tessera/models/model.h"

namespace tessera::cpvt {
inline namespace TESSERA_NS {

/// The rows of the registry: the family, and the configurations of the paper. A vit::Vit under `peg`.
std::vector<ModelRow> rows();

}  // namespace TESSERA_NS
}  // namespace tessera::cpvt
