# cmake -DNM=nm -DOBJECTS=a.o;b.o -P no_weak_symbols.cmake
# Fails if an object of core/kernels defines a weak symbol: the linker could keep the copy compiled for AVX-512 for the whole program.
list(LENGTH OBJECTS count)
if(count LESS 3)
  message(FATAL_ERROR "only ${count} kernel objects were given")
endif()
foreach(object IN LISTS OBJECTS)
  execute_process(COMMAND ${NM} -C --defined-only ${object} OUTPUT_VARIABLE symbols RESULT_VARIABLE failed)
  if(failed OR NOT symbols)
    message(FATAL_ERROR "${NM} cannot read ${object}")
  endif()
  string(REGEX MATCHALL "[0-9a-f]+ [VWu] [^\n]*" weak "${symbols}")
  list(FILTER weak EXCLUDE REGEX " V DW\\.ref\\.")  # a pointer to a routine of the C++ runtime, which sanitizers bring in: no code
  if(weak)
    message(FATAL_ERROR "${object} has weak symbols: ${weak}")
  endif()
endforeach()
message(STATUS "${count} objects, no weak symbol")
