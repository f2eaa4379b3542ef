# What `cmake --install` writes: the library and its headers, find_package(tessera) with the target tessera::tessera, `pkg-config tessera`,
# the licence.
include(CMakePackageConfigHelpers)
install(TARGETS tessera EXPORT tesseraTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
# Not the headers that are compiled once per instruction set: outside of core/kernels they mean nothing.
foreach(folder core nn models train)
  install(DIRECTORY ${folder} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/tessera FILES_MATCHING PATTERN "*.h" PATTERN cli EXCLUDE PATTERN lab EXCLUDE
          PATTERN recipes EXCLUDE REGEX "core/(kernels/(simd|math|bf16_pairs|gemm_tile|attention_lanes|attention_tiles)|io/json)\\.h$|train/training/report_json\\.h$" EXCLUDE)
endforeach()
install(FILES include/tessera/tessera.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/tessera)
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DATAROOTDIR}/licenses/tessera)

set(TESSERA_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/tessera)
# Programs that link the archive link what it needs; a shared library brings it along.
get_target_property(type tessera TYPE)
set(TESSERA_DEPENDENCIES "")
if(type STREQUAL "STATIC_LIBRARY")
  foreach(package TBB Threads ZLIB ${TESSERA_OPTIONAL_PACKAGES})
    string(APPEND TESSERA_DEPENDENCIES "find_dependency(${package})\n")
  endforeach()
  string(APPEND TESSERA_DEPENDENCIES "find_dependency(PkgConfig)\npkg_check_modules(OpenBLAS REQUIRED IMPORTED_TARGET openblas)\n${TESSERA_OPTIONAL_CHECKS}")
endif()
install(EXPORT tesseraTargets NAMESPACE tessera:: DESTINATION ${TESSERA_CMAKE_DIR})
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/tesseraConfig.cmake.in ${PROJECT_BINARY_DIR}/tesseraConfig.cmake
                              INSTALL_DESTINATION ${TESSERA_CMAKE_DIR})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/tesseraConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/tesseraConfig.cmake ${PROJECT_BINARY_DIR}/tesseraConfigVersion.cmake DESTINATION ${TESSERA_CMAKE_DIR})

# pkg-config: modules where the dependency has one, its library by name else.
set(TESSERA_PC_NEEDS "")
set(TESSERA_PC_LIBS "-pthread")
foreach(module openblas tbb zlib ${TESSERA_OPTIONAL_MODULES})
  pkg_check_modules(TESSERA_PC_${module} QUIET ${module})
  if(TESSERA_PC_${module}_FOUND)
    list(APPEND TESSERA_PC_NEEDS ${module})
  else()
    string(REGEX REPLACE "^(lib|z)(.*)$" "\\2" bare ${module})
    string(APPEND TESSERA_PC_LIBS " -l${bare}")
  endif()
endforeach()
# `pkg-config --libs tessera` is to do for the archive, too, without --static: its needs are everybody's there
list(JOIN TESSERA_PC_NEEDS " " TESSERA_PC_NEEDS)
if(type STREQUAL "STATIC_LIBRARY")
  set(TESSERA_PC_REQUIRES "Requires: fmt ${TESSERA_PC_NEEDS}")
  set(TESSERA_PC_LIBS "Libs: -L\${libdir} -ltessera ${TESSERA_PC_LIBS}")
else()
  set(TESSERA_PC_REQUIRES "Requires: fmt\nRequires.private: ${TESSERA_PC_NEEDS}")
  set(TESSERA_PC_LIBS "Libs: -L\${libdir} -ltessera\nLibs.private: ${TESSERA_PC_LIBS}")
endif()
# relative to the file itself, so that an installed tree may be moved
file(RELATIVE_PATH TESSERA_PC_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" TESSERA_PC_PREFIX "${TESSERA_PC_PREFIX}")
configure_file(cmake/tessera.pc.in ${PROJECT_BINARY_DIR}/tessera.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/tessera.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
