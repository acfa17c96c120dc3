# A small repository: commits, a branch, a merge, a repack, and every object checked.
packages='git'
executables='git'
limit=90

prepare() { :; }

run() {
  export GIT_CONFIG_NOSYSTEM=1 GIT_PAGER=cat GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=c
  export GIT_COMMITTER_EMAIL=c@example.org
  git init --quiet --initial-branch=main repository
  cd repository
  git config gc.auto 0
  local i
  for i in {1..30}; do
    export GIT_AUTHOR_DATE="$((1700000000 + i * 60)) +0000" GIT_COMMITTER_DATE="$((1700000000 + i * 60)) +0000"
    mkdir -p "folder$((i % 5))"
    seq "$i" $((i * 60)) >"folder$((i % 5))/file$i"
    seq $i 3 400 >shared
    git add --all
    git commit --quiet -m "change $i"
    [ "$i" -ne 15 ] || git branch side
  done
  git checkout --quiet side
  seq 5000 >folder1/other
  git add --all
  git commit --quiet -m 'on the side'
  git checkout --quiet main
  git merge --quiet --no-edit side
  git repack -adq --threads=2
  git fsck --full --strict 2>&1
  git log --graph --stat --format='%H %s' | sha256sum
  git diff --stat HEAD~20 | tail -n 1
  git blame folder0/file5 | sha256sum
  git grep -c 1234 | sort | tail -n 3
  git rev-parse HEAD
}
