#pragma once
// Every encoding in every family of models: trained a step, evaluated, saved and loaded, run at another size.
#include <string>

namespace tessera {
inline namespace TESSERA_NS {

/// The table of docs/matrix.md: a row for each encoding, a column for each family, and the reasons of what is refused.
std::string model_table();

}  // namespace TESSERA_NS
}  // namespace tessera
