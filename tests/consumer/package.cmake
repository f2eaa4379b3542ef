# The project in this folder against the installed tessera, by find_package.
include(${SOURCE}/step.cmake)
file(REMOVE_RECURSE ${WORK})
step(${configure} -S ${SOURCE} -B ${WORK} -DCMAKE_PREFIX_PATH=${PREFIX})
step(${CMAKE_COMMAND} --build ${WORK})
step(${WORK}/consumer)
check_output("1 1 1\n")
file(REMOVE_RECURSE ${WORK})
