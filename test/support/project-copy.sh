# shellcheck shell=bash
# project_copy FOLDER: the project in another folder, everything linked but the stacks' files. They are copied
# without the salt of a passphrase, since `stack init` writes one into them.
project_copy() {
  local entry
  mkdir -p "$1"
  for entry in *; do
    case $entry in
      Pulumi.*.yaml) sed '/^encryptionsalt:/d' "$entry" >"$1/$entry" ;;
      *) ln -s "$PWD/$entry" "$1/$entry" ;;
    esac
  done
}
