#pragma once
// The rows of the op table and their inputs, for all that walks them: the harness (op_table.cpp) and tests beside it.
#include "tests/twin/op_table.h"

namespace tessera {
inline namespace TESSERA_NS {

/// All rows, by op and name: the same order in both twins.
const std::vector<Row>& op_rows();
/// All calls that must throw.
const std::vector<ErrorRow>& op_errors();
std::string title(const Row& row);
/// The row's inputs, exactly representable in float so that both twins see the same.
Arrays draw(const Row& row);
Tensor to_tensor(const Array& a);
Tensors to_tensors(const Arrays& a);
std::vector<double> to_doubles(const Tensor& t);
/// Fixed random cotangents, one per output, in [0.5, 1.5] with random signs.
Tensors cotangents(const Row& row, const Tensors& y);

}  // namespace TESSERA_NS
}  // namespace tessera
