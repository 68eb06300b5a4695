# A C and a C++ program compiled, linked and run, also with optimization as they are linked.
# needs: gcc
# needs: g++
# exit: 1
g++ -O2 -pthread -c "$REPOSITORY/traces/programs/containers.cpp" -o containers.o
sha256sum containers.o
g++ -pthread containers.o -o containers
./containers && echo ran
csrc=$REPOSITORY/csrc
sources=("$csrc"/tests/test_vma.c "$csrc"/region/{vma,own}.c "$csrc"/os/os_linux.c)
gcc -std=gnu17 -O2 -D_GNU_SOURCE -flto=2 -I"$csrc" "${sources[@]}" -o regions
./regions && echo ran
echo "Now one that fails."
echo 'int main(void) { return nothing; }' | gcc -x c - -o nothing 2>/dev/null
