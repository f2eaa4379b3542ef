# cmake -DSOURCE=DIR -DOUTPUT=commit.cpp [-DGIT=git] -P commit.cmake
# Writes commit() of tessera/train/training/environment.h. Runs with every build, and touches the file only when its text changes: then one file is compiled.
# Sources that are not the root of a work tree (a tarball, also one unpacked inside of another project's) have no commit.
set(commit unknown)
if(GIT)
  execute_process(COMMAND ${GIT} --no-optional-locks -C ${SOURCE} rev-parse --show-toplevel OUTPUT_VARIABLE root OUTPUT_STRIP_TRAILING_WHITESPACE
                  ERROR_QUIET RESULT_VARIABLE failed)
  file(REAL_PATH ${SOURCE} source)
  if(NOT failed AND root STREQUAL source)
    execute_process(COMMAND ${GIT} --no-optional-locks -C ${SOURCE} describe --always --dirty --abbrev=12 --exclude=* OUTPUT_VARIABLE found
                    OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
    if(NOT failed AND found MATCHES "^[0-9a-f]+(-dirty)?$")
      set(commit ${found})
    endif()
  endif()
endif()
set(text "#include \"tessera/train/training/environment.h\"\n\nnamespace tessera {\nstd::string commit() { return \"${commit}\"; }\n}  // namespace tessera\n")
set(old "")
if(EXISTS ${OUTPUT})
  file(READ ${OUTPUT} old)
endif()
if(NOT old STREQUAL text)
  file(WRITE ${OUTPUT} "${text}")
endif()
