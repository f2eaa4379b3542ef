#pragma once
// A header of the consumer's own, under a name that tessera has, too: each means its own.
struct OwnTensor {
  int rows = 1;
};
