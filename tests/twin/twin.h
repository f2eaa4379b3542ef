#pragma once
// Files in this folder are compiled twice, with real = float and real = double, and linked into one program. TWIN_CASE gives each
// case its twin's name, so that doctest keeps both.
#include <doctest/doctest.h>

#include "tessera/core/real.h"

#define TESSERA_STRING_(x) #x
#define TESSERA_STRING(x) TESSERA_STRING_(x)
#define TWIN_CASE(name) TEST_CASE(name " [" TESSERA_STRING(TESSERA_NS) "]")
/// With a decorator of doctest, such as doctest::skip(...).
#define TWIN_CASE_THAT(decorator, name) TEST_CASE(name " [" TESSERA_STRING(TESSERA_NS) "]" * decorator)
