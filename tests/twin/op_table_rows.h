#pragma once
// The rows of the op table and their inputs, for tests beside the harness (op_table.cpp) that walk all of them.
#include "tests/twin/op_table.h"

namespace tessera {
inline namespace TESSERA_NS {

/// All rows, by op and name: the same order in both twins.
const std::vector<Row>& op_rows();
std::string title(const Row& row);
/// The row's inputs, exactly representable in float so that both twins see the same.
Arrays draw(const Row& row);
Tensors to_tensors(const Arrays& a);
std::vector<double> to_doubles(const Tensor& t);
/// Fixed random cotangents, one per output, in [0.5, 1.5] with random signs.
Tensors cotangents(const Row& row, const Tensors& y);

}  // namespace TESSERA_NS
}  // namespace tessera
