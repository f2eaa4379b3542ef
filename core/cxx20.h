#pragma once
// First of all in the headers that others begin with: under an older standard the compiler would speak of `requires` instead.
#if __cplusplus < 202002L
#error "tessera needs C++20: compile with -std=c++20 (linking the CMake target tessera::tessera asks for it)"
#endif
