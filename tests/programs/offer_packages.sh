# Make an archive of packages, with all that they need, in a tree of Debian, and the only one that its apt knows.
# A hook of mmdebstrap. Arguments: the tree, the packages.
# shellcheck shell=sh
set -eu
archive=$1/opt/archive
rm -f "$1"/var/cache/apt/archives/*.deb
shift
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
apt-get --yes --download-only --no-install-recommends install "$@" >/dev/null
mkdir "$archive"
mv "$archive"/../../var/cache/apt/archives/*.deb "$archive"
cd "$archive"
for file in *.deb; do
  dpkg-deb --field "$file"
  printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "$file" "$(stat -c %s "$file")" "$(sha256sum "$file" | cut -d ' ' -f 1)"
done >Packages
echo 'deb [trusted=yes] file:/opt/archive ./' >"$archive/../../etc/apt/sources.list"
