# Every installed header compiles by itself, from the installed tree: nothing that it includes is missing there.
include(${SOURCE}/step.cmake)
file(REMOVE_RECURSE ${WORK})
step(${configure} -S ${SOURCE}/headers -B ${WORK} -DCMAKE_PREFIX_PATH=${PREFIX} -DHEADERS=${PREFIX}/include/tessera)
step(${CMAKE_COMMAND} --build ${WORK} --parallel 2)
file(REMOVE_RECURSE ${WORK})
