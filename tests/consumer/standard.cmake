# Under C++17 the compiler says what is wrong, and says it once; under C++20 the one header brings the ops, the layers and the models.
include(${SOURCE}/step.cmake)
file(MAKE_DIRECTORY ${WORK})
foreach(header tessera.h core/tensor.h core/error.h nn/params.h models/vit.h core/ops/linear.h)
  file(WRITE ${WORK}/old.cpp "#include <tessera/${header}>\n")
  execute_process(COMMAND ${CXX} -std=c++17 -fsyntax-only -I${PREFIX}/include ${WORK}/old.cpp RESULT_VARIABLE code ERROR_VARIABLE said)
  string(REGEX MATCH "error:[^\n]*" first "${said}")
  if(code EQUAL 0 OR NOT first MATCHES "tessera needs C\\+\\+20: compile with -std=c\\+\\+20")
    message(FATAL_ERROR "${header} under C++17: ${said}")
  endif()
  if(header STREQUAL "tessera.h")
    string(REGEX MATCHALL "error:" all "${said}")
    list(LENGTH all count)
    if(NOT count EQUAL 1)
      message(FATAL_ERROR "${header} under C++17, ${count} errors: ${said}")
    endif()
  endif()
endforeach()
file(READ ${PREFIX}/include/tessera/core/ops.h ops)
file(GLOB all RELATIVE ${PREFIX}/include/tessera ${PREFIX}/include/tessera/core/ops/*.h)
foreach(header IN LISTS all)
  if(NOT ops MATCHES "\"tessera/${header}\"")
    message(FATAL_ERROR "core/ops.h lacks ${header}")
  endif()
endforeach()
file(WRITE ${WORK}/all.cpp "#include <tessera/tessera.h>
using namespace tessera;
Tensor all(const Tensor& x, const Tensor& w) {
  const Tensor y = gelu(layernorm(linear(x, w), w, w, 1e-5));
  return slice(add(softmax(y), mul(y, y)), 0, 0, 1);
}
static_assert(sizeof(Params) && sizeof(swin::Config) && sizeof(Attention) && sizeof(Rename));
")
separate_arguments(flags UNIX_COMMAND "${FLAGS}")
step(${CXX} ${flags} -std=c++20 -fsyntax-only -I${PREFIX}/include ${WORK}/all.cpp)
file(REMOVE_RECURSE ${WORK})
