# A repository of 400 commits cloned, listed, packed again by two threads, and checked.
# needs: git
# exit: 128
git() { command git -c gc.autoDetach=false -c pack.threads=2 "$@"; }
commits() {
  for i in {1..400}; do
    text=$(seq $((i % 37)) $((1 + i % 5)) $((i * 3)))
    printf 'commit refs/heads/main\ncommitter A <a@b.c> %d +0000\ndata 9\nnumber %02d' $((1600000000 + i * 1000)) $((i % 100))
    printf '\nM 644 inline folder%d/file%d\ndata %d\n%s\n' $((i % 3)) $((i % 29)) ${#text} "$text"
  done
}
git init -q -b main bare.git --bare
commits | git -C bare.git fast-import --quiet
git clone -q --no-local bare.git copy
git -C copy log --stat -p --all | sha256sum
git -C copy log --format=%H --follow -- folder1/file1 | sha256sum
git -C copy blame folder2/file2 | sha256sum
git -C copy switch -q -c side HEAD~20
seq 900 >copy/new && git -C copy add new
git -C copy -c user.name=A -c user.email=a@b.c commit -q -m new --date=1700000000
git -C copy gc -q --aggressive
git -C copy fsck --full --no-progress
git -C copy grep -c 77 main | sha256sum
echo "Now one that fails."
git -C copy rev-parse --verify nothing 2>/dev/null
