# Every installed header compiles in the installed tree: nothing that it includes is missing there, and nothing in it is for the build alone.
include(${SOURCE}/step.cmake)
file(REMOVE_RECURSE ${WORK})
step(${configure} -S ${SOURCE}/headers -B ${WORK} -DCMAKE_BUILD_TYPE=Debug -DCMAKE_PREFIX_PATH=${PREFIX} -DHEADERS=${PREFIX}/include/tessera)
step(${CMAKE_COMMAND} --build ${WORK} --parallel 2)
file(REMOVE_RECURSE ${WORK})
