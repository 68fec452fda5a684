package image

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// PKI are the files of a cluster's certificates, in a directory of their own.
// The cluster is a throw-away one that only loopback reaches; still nobody gets
// in without one of them.
const (
	caCert, caKey            = "ca.crt", "ca.key"
	serverCert, serverKey    = "apiserver.crt", "apiserver.key"
	adminCert, adminKey      = "admin.crt", "admin.key"
	kubeletCert, kubeletKey  = "kubelet.crt", "kubelet.key"
	workerCert, workerKey    = "worker.crt", "worker.key"
	accountsPub, accountsKey = "sa.pub", "sa.key"
)

// lifetime of every certificate. An image is remade long before.
const lifetime = 10 * 365 * 24 * time.Hour

// authority signs certificates.
type authority struct {
	dir  string
	now  time.Time
	cert *x509.Certificate
	key  crypto.Signer
}

// makePKI writes the certificates of a cluster into dir.
func makePKI(dir string, now time.Time) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	a := &authority{dir: dir, now: now}
	ca := a.template("oomlab", nil)
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageDigitalSignature
	if err := a.issue(caCert, caKey, ca); err != nil {
		return err
	}
	server := a.template("kube-apiserver", nil)
	server.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	server.DNSNames = []string{"localhost", NodeName, "kubernetes", "kubernetes.default", "kubernetes.default.svc"}
	server.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.ParseIP(NodeIP), net.ParseIP(serviceIP)}
	if err := a.issue(serverCert, serverKey, server); err != nil {
		return err
	}
	for _, c := range []struct {
		cert, key, name string
		groups          []string
	}{
		{adminCert, adminKey, "oomlab-admin", []string{"system:masters"}},
		{kubeletCert, kubeletKey, "system:node:" + NodeName, []string{"system:nodes"}},
		{workerCert, workerKey, "system:node:" + WorkerName, []string{"system:nodes"}},
	} {
		t := a.template(c.name, c.groups)
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		if err := a.issue(c.cert, c.key, t); err != nil {
			return err
		}
	}
	accounts, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(accounts.Public())
	if err != nil {
		return err
	}
	if err := a.writeKey(accountsKey, accounts); err != nil {
		return err
	}
	return a.write(accountsPub, "PUBLIC KEY", public, 0o644)
}

// template is valid from a day ago: the clock of a machine that was restored
// is behind until somebody sets it.
func (a *authority) template(name string, groups []string) *x509.Certificate {
	return &x509.Certificate{
		Subject:   pkix.Name{CommonName: name, Organization: groups},
		NotBefore: a.now.Add(-24 * time.Hour), NotAfter: a.now.Add(lifetime),
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
}

// issue makes a key, signs its certificate, and writes both. The first one
// signs itself and all that follow.
func (a *authority) issue(certFile, keyFile string, template *x509.Certificate) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return err
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return err
	}
	if a.cert == nil {
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			return err
		}
		a.key = key
	}
	if err := a.writeKey(keyFile, key); err != nil {
		return err
	}
	return a.write(certFile, "CERTIFICATE", der, 0o644)
}

func (a *authority) writeKey(file string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return a.write(file, "EC PRIVATE KEY", der, 0o600)
}

func (a *authority) write(file, kind string, der []byte, mode os.FileMode) error {
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	return os.WriteFile(filepath.Join(a.dir, file), text, mode)
}
