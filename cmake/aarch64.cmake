# Cross-compiles for 64-bit ARM on an x86-64 Debian or Ubuntu, and runs what was built under qemu-user (the preset `aarch64`):
#   dpkg --add-architecture arm64 && apt-get update
#   apt-get install g++-aarch64-linux-gnu qemu-user lib{openblas,tbb,fmt,png,jpeg,sndfile1,kissfft,curl4-openssl,ssl,tomlplusplus}-dev:arm64 zlib1g-dev:arm64
# The other libraries are header-only and the same for every architecture.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64)
set(ENV{PKG_CONFIG_LIBDIR} /usr/lib/aarch64-linux-gnu/pkgconfig:/usr/share/pkgconfig)
