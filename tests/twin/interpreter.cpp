// Every op by name, attributes and inputs: what ONNX export, or another engine, has to know.
#include "tests/twin/interpreter.h"

#include <algorithm>
#include <limits>

#include "tessera/core/kernels/kernels.h"
#include "tessera/core/ops.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace {

/// sum and mean take a list that is written down.
template <class F>
Tensor reduced(F f, const Kept& op, const Tensor& x) {
  const Index& d = op.list("dims");
  const bool keep = op.integer("keepdim");
  if (d.size() > 3) fail("interpreter", "{} over {} dimensions", op.op, d.size());
  return d.empty()       ? f(x, {}, keep)
         : d.size() == 1 ? f(x, {d[0]}, keep)
         : d.size() == 2 ? f(x, {d[0], d[1]}, keep)
                         : f(x, {d[0], d[1], d[2]}, keep);
}
Key key_of(const Kept& op) { return {static_cast<uint64_t>(op.integer("key"))}; }
Run run_of(const Kept& op, const char* first) {
  return {Mode::train, static_cast<uint64_t>(op.integer("seed")), static_cast<uint64_t>(op.integer("step")),
          op.integer(first)};
}
PoolOptions pool_of(const Kept& op) {
  return {op.i("kernel"), op.i("stride"), op.i("padding"), op.integer("ceil_mode") != 0,
          op.integer("count_include_pad") != 0};
}
Padding padding(const std::string& mode) {
  return mode == "reflect" ? Padding::reflect : mode == "circular" ? Padding::circular : Padding::zero;
}

Tensor attend(const Kept& op, const Tensors& x) {
  const auto view = [&](const std::string& of, const Tensor& t) {
    const auto get = [&](const char* what) { return op.i((of + what).c_str()); };
    return Heads{t, get(".offset"), get(".stride"), get(".heads"), get(".d"), get(".tokens")};
  };
  Pattern::Spec who;
  who.groups = op.i("groups"), who.n = op.i("n"), who.m = op.i("m"), who.q = op.list("who.q"), who.k = op.list("who.k");
  who.label_q = op.list("label_q"), who.label_k = op.list("label_k"), who.causal = op.integer("causal");
  who.offset = op.i("offset"), who.no_self = op.integer("no_self");
  who.absent = op.text("absent") == "masked" ? Pattern::Absent::masked : Pattern::Absent::zero_key;
  who.mask_value = static_cast<float>(op.number("mask_value"));
  const Heads q = view("q", x[0]), k = view("k", x[1]);
  Terms where;
  where.rotary = {x[3], x[4], x[5], x[6], op.integer("halves") != 0, op.integer("values") != 0};
  size_t next = 7;
  for (int t = 0, sides = 0; t < op.number_of("kind"); ++t) {
    static const std::string kinds[] = {"bias", "query", "key", "value", "gate"};
    const auto kind = static_cast<Relative::Kind>(std::ranges::find(kinds, op.text("kind", t)) - kinds);
    const RelativeIndex rho =
        RelativeIndex::Spec{who.n, who.m, op.i("rows", t), op.list("rho.at", t), op.i("rho.groups", t)};
    Relative r{kind, x[next++], op.i("first", t), rho, {}, op.integer("outside", t) != 0};
    if (const int width = op.i("side", t)) {
      r.side = {x[next++],
                op.i("side.offset", sides),
                op.i("side.stride", sides),
                q.heads,
                width,
                (kind == Relative::query ? q : k).tokens};
      ++sides;
    }
    where.add(r);
  }
  if (op.number_of("visible")) {
    const Index& bits = op.list("visible");
    where.visible = HeadMask(op.i("visible.heads"), who.n, who.m, std::vector<bool>(bits.begin(), bits.end()));
  }
  const bool drops = op.number_of("p");
  const DropoutSpec dropout = drops ? DropoutSpec{op.number("p"), key_of(op)} : DropoutSpec{};
  const Index lengths = op.number_of("lengths") ? op.list("lengths") : Index();
  return plain_attention({q, k, view("v", x[2]), who, op.number("scale"), dropout, lengths}, where,
                         drops ? run_of(op, "first_sample") : Run{});
}

Tensor attend_linearly(const Kept& op, const Tensors& x) {
  const auto view = [&](const Tensor& t, const char* offset, const char* d) {
    return Heads{t, op.i(offset), t.dim(2), op.i("heads"), op.i(d), t.dim(1)};
  };
  const LinearAttention how{op.text("similarity") == "elu" ? Similarity::elu : Similarity::taylor,
                            op.integer("causal") != 0,
                            op.number("eps"),
                            {x[3], x[4], x[5], x[6], op.integer("halves") != 0, false}};
  return linear_attention(view(x[0], "q.offset", "q.d"), view(x[1], "k.offset", "q.d"), view(x[2], "v.offset", "v.d"),
                          how, op.list("lengths"));
}

#define TWO(NAME) {#NAME, [](const Kept&, const Tensors& x) { return NAME(x[0], x[1]); }},
#define ONE(IGNORED, NAME, SAVED, VALUE, SLOPE) {#NAME, [](const Kept&, const Tensors& x) { return NAME(x[0]); }},
#define OP(NAME, ...) {#NAME, []([[maybe_unused]] const Kept& o, const Tensors& x) -> Tensors { return __VA_ARGS__; }},
// clang-format off
const std::map<std::string, Rule> rules = {
  TESSERA_UNARY_TABLE(ONE, )
  TWO(add) TWO(sub) TWO(mul) TWO(div) TWO(mse) TWO(prepend)
  OP(scale, scale(x[0], o.number("by")))
  OP(add_scalar, add_scalar(x[0], o.number("by")))
  OP(neg, neg(x[0]))
  OP(clamp, clamp(x[0], o.number("lo"), o.number("hi")))
  OP(softmax, softmax(x[0]))
  OP(log_softmax, log_softmax(x[0]))
  OP(normalize, normalize(x[0], o.number("eps")))
  OP(layernorm, layernorm(x[0], x[1], x[2], o.number("eps")))
  OP(batchnorm, batchnorm(x[0], x[1], x[2], x[3], x[4], o.number("eps"), {o.integer("training") ? Mode::train : Mode::eval, 0, 0, 0},
                          o.list("lengths")))
  OP(keep_valid, keep_valid(x[0], o.list("lengths")))
  OP(linear, linear(x[0], x[1], x[2], precision(o.text("precision"))))
  OP(linear_gelu, linear_gelu(x[0], x[1], x[2]))
  OP(linear_add, linear_add(x[0], x[1], x[2], x[3]))
  OP(point_mlp, point_mlp(x[0], x[1], x[2], x[3]))
  OP(matmul, matmul(x[0], x[1], o.integer("transpose_a"), o.integer("transpose_b"), precision(o.text("precision"))))
  OP(conv2d, conv2d(x[0], x[1], x[2], {o.i("stride_y"), o.i("stride_x"), o.i("top"), o.i("bottom"), o.i("left"), o.i("right"),
                                       o.i("dilation_y"), o.i("dilation_x"), o.i("groups")}))
  OP(deform_conv2d, deform_conv2d(x[0], x[1], x[2], x[3], x[4], {o.i("stride_y"), o.i("stride_x"), o.i("top"), o.i("bottom"), o.i("left"),
                                  o.i("right"), o.i("dilation_y"), o.i("dilation_x"), o.i("groups")}, o.i("offset_groups")))
  OP(avg_pool2d, avg_pool2d(x[0], pool_of(o)))
  OP(max_pool2d, max_pool2d(x[0], pool_of(o)))
  OP(adaptive_avg_pool2d, adaptive_avg_pool2d(x[0], o.i("h"), o.i("w")))
  OP(dropout, dropout(x[0], o.number("p"), key_of(o), run_of(o, "first")))
  OP(drop_path, drop_path(x[0], o.number("p"), key_of(o), run_of(o, "first")))
  OP(add_drop_path, add_drop_path(x[0], x[1], o.number("p"), key_of(o), run_of(o, "first")))
  OP(embedding, embedding(x[0], o.list("index")))
  OP(gather, gather(x[0], o.list("index"), o.i("m")))
  OP(add_table, add_table(x[0], x[1], o.i("first"), o.number("scale")))
  OP(resize_grid, resize_grid(x[0], o.i("h0"), o.i("w0"), o.i("h"), o.i("w"), interpolation(o.text("rule")), o.i("before"), o.i("after")))
  OP(patches, patches(x[0], o.i("size")))
  OP(permute, permute(x[0], std::span<const int>(o.list("order"))))
  OP(concat, concat(std::span<const Tensor>(x), o.i("dim")))
  OP(slice, slice(x[0], o.i("dim"), o.i("start"), o.i("end")))
  OP(pad, pad(x[0], o.i("dim"), o.i("before"), o.i("after"), padding(o.text("mode"))))
  OP(roll, roll(x[0], o.i("shift"), o.i("dim")))
  OP(sum, reduced(sum, o, x[0]))
  OP(mean, reduced(mean, o, x[0]))
  OP(max, max(x[0], o.i("dim"), o.integer("keepdim")))
  OP(broadcast_to, broadcast_to(x[0], Shape(std::span<const int>(o.list("shape")))))
  OP(soft_cross_entropy, x.size() == 2 ? soft_cross_entropy(x[0], x[1], o.number("smoothing"), o.number("scale"))
                                       : soft_cross_entropy(x[0], o.list("labels"), o.number("smoothing"), o.number("scale")))
  OP(skew_exp, skew_exp(x[0]))
  OP(rotate_blocks, rotate_blocks({x[0], o.i("offset"), x[0].dim(2), o.i("heads"), o.i("d"), x[0].dim(1)}, x[1], o.list("at")))
  OP(attention, attend(o, x))
  OP(linear_attention, attend_linearly(o, x))
};
// clang-format on
#undef OP
#undef ONE
#undef TWO

}  // namespace

std::map<std::string, Rule>& interpreter() {
  static std::map<std::string, Rule> all = rules;
  return all;
}

Tensors computed(const std::vector<Kept>& ops, const std::vector<std::pair<Tensor, Tensor>>& given,
                 const Tensors& wanted) {
  std::map<const Storage*, Tensor> made;  // all of a storage, as one row
  for (const auto& [was, is] : given) made[was.storage()] = is.reshape({-1});
  const auto value = [&](const Tensor& t) {
    const auto it = made.find(t.storage());
    if (!t || it == made.end()) return t;
    const int from = static_cast<int>(t.offset()), n = static_cast<int>(t.size());
    return it->second.rows(from, from + n).reshape(t.shape());
  };
  for (const Kept& op : ops) {
    const auto rule = interpreter().find(op.op);
    if (rule == interpreter().end()) fail("interpreter", "no rule computes {} again: add one", op.op);
    Tensors x;
    for (const Tensor& t : op.in) x.push_back(value(t));
    const Tensors y = rule->second(op, x);
    for (size_t k = 0; k < y.size(); ++k) made[op.out[k].storage()] = y[k].reshape({-1});
    if (const std::string unused = op.unused(); !unused.empty())
      fail("interpreter", "{} shows {}, which its rule does not need", op.op, unused);
  }
  Tensors y;
  for (const Tensor& t : wanted) y.push_back(value(t));
  return y;
}

// ---- what an observer keeps -----------------------------------------------------------------------------------------

Kept::Kept(const Seen& s) : op(s.op.name), path(s.path) {
  for (const Tensor* t : s.inputs) in.push_back(t ? t->detach() : Tensor());
  for (const Tensor* t : s.outputs) out.push_back(t->detach());
  for (const Attribute& a : s.op.attributes) {
    Value& v = attributes_.emplace_back(Value{a.key, a.kind});
    const auto n = static_cast<size_t>(a.count);
    switch (a.kind) {
      case Attribute::Kind::integer:
        v.integer = a.integer;
        break;
      case Attribute::Kind::number:
        v.number = a.number;
        break;
      case Attribute::Kind::text:
        v.text.assign(a.text, n);
        break;
      case Attribute::Kind::list:
        v.list.assign(a.list, a.list + n);
        break;
    }
  }
}

const Kept::Value& Kept::get(const char* key, Attribute::Kind kind, int nth) const {
  for (const Value& v : attributes_)
    if (v.key == key && nth-- == 0) {
      if (v.kind != kind) fail("interpreter", "{} shows {} as another kind of attribute", op, key);
      v.used = true;
      return v;
    }
  fail("interpreter", "{} shows no attribute {}", op, key);
}

int Kept::number_of(const char* key) const {
  return static_cast<int>(std::ranges::count_if(attributes_, [&](const Value& v) { return v.key == key; }));
}

std::string Kept::unused() const {
  for (const Value& v : attributes_)
    if (!v.used) return v.key;
  return "";
}

void Recorder::saw(const Seen& s) {
  for (const Tensor& t : ops.emplace_back(s).out) values.emplace_back(t.read().begin(), t.read().end());
}

std::string Recorder::not_fresh() const {
  std::set<const Storage*> known;
  size_t at = 0;
  for (const Kept& op : ops) {
    for (const Tensor& x : op.in) known.insert(x.storage());
    for (const Tensor& y : op.out) {
      const std::vector<double>& made = values[at++];
      if (y.offset() != 0 || !known.insert(y.storage()).second) return op.op + " gave memory that was there before";
      if (!std::ranges::equal(y.read(), made, [](double a, double b) { return a == b || (a != a && b != b); }))
        return "somebody wrote into the output of " + op.op;
    }
  }
  return "";
}

void Recorder::spoil() const {
  for (const Kept& op : ops)
    for (const Tensor& y : op.out) std::ranges::fill(y.values(), std::numeric_limits<real>::quiet_NaN());
}

}  // namespace TESSERA_NS
}  // namespace tessera
