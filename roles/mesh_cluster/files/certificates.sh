# etcd's certificates: a key is made where it is used and never leaves that host, the CA's stays on one monitor.
# ask BASE ADDRESS: print a request, if BASE.pem is missing, is for another address, or has less than a year left
# sign FOLDER KIND SUBJECT ADDRESS NAME MESH: print the certificate for the request on standard input, and the CA's
# take BASE GROUP: put in place what sign has printed
# shellcheck shell=sh
set -eu
umask 077

has_certificate() {
  [ -e "$base.key" ] && openssl verify -CAfile "$ca" "$base.pem" || return 1
  openssl x509 -in "$base.pem" -noout -checkend 31536000 || return 1
  [ "$(openssl pkey -in "$base.key" -pubout)" = "$(openssl x509 -in "$base.pem" -noout -pubkey)" ] || return 1
  [ -z "$1" ] || openssl x509 -in "$base.pem" -noout -checkip "$1" | grep -q 'does match'
}

new_key() { # OPTIONS: of openssl req
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "$@" 2>"$scratch/said" || {
    cat "$scratch/said" >&2
    return 1
  }
}

make_ca() {
  if [ -e ca.pem ]; then
    echo "the CA's key is not in $PWD of this host: name the monitor that has it by mesh_cluster_ca_host, or see docs/cluster.md on a new CA" >&2
    return 1
  fi
  printf '[req]\ndistinguished_name=n\nprompt=no\n[n]\nCN=%s\n[ca]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n' \
    "gpu-mesh CA of $mesh" >"$scratch/ca"
  new_key -x509 -days 7305 -config "$scratch/ca" -extensions ca -keyout ca.key.new -out ca.pem.new
  chmod 0644 ca.pem.new
  mv ca.key.new ca.key
  mv ca.pem.new ca.pem
}

sign() {
  [ -e ca.key ] || make_ca
  printf 'basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n' >"$scratch/as"
  if [ "$kind" = server ]; then
    # A member is a client of the others, and of itself.
    printf 'extendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=IP:%s,IP:127.0.0.1,DNS:localhost' "$address" >>"$scratch/as"
    case $name in *[!A-Za-z0-9.-]*) ;; *) printf ',DNS:%s' "$name" >>"$scratch/as" ;; esac
  else
    # Without a name or an address: etcd would ask whether it comes from there.
    printf 'extendedKeyUsage=clientAuth\n' >>"$scratch/as"
  fi
  cat >"$scratch/request"
  # The name is what this run says, whatever the request says.
  openssl x509 -req -in "$scratch/request" -CA ca.pem -CAkey ca.key -set_serial "0x$(openssl rand -hex 16)" -days 1826 -sha256 \
    -subj "/CN=$subject" -extfile "$scratch/as" 2>"$scratch/said" || {
    cat "$scratch/said" >&2
    return 1
  }
  cat ca.pem
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
case $1 in
  ask)
    base=$2 ca=${2%/*}/ca.pem
    if ! has_certificate "$3" >/dev/null 2>&1; then
      new_key -subj /CN=new -keyout "$base.key.new"
    fi
    ;;
  sign)
    cd "$2"
    kind=$3 subject=$4 address=$5 name=$6 mesh=$7
    sign
    ;;
  take)
    base=$2 ca=${2%/*}/ca.pem
    awk -v own="$base.pem.new" -v ca="$ca.new" '/BEGIN/ { n++ } { print > (n < 2 ? own : ca) }'
    openssl verify -CAfile "$ca.new" "$base.pem.new" >&2
    chmod 0644 "$base.pem.new" "$ca.new"
    chown "root:$3" "$base.key.new"
    chmod 0640 "$base.key.new"
    mv "$ca.new" "$ca"
    mv "$base.key.new" "$base.key"
    mv "$base.pem.new" "$base.pem"
    ;;
esac
