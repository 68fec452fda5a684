package debian
import ("testing";"context";"strings";"time")
func TestZZ(t *testing.T){
 ctx,c:=context.WithTimeout(context.Background(),5*time.Minute); defer c()
 o:=Options{Dir:"/root/.cache/oomlab/kernels/.apt",Progress:func(s string){t.Log(s)}}
 m,err:=o.Mirrors(); if err!=nil{t.Fatal(err)}
 a,err:=o.Open(ctx,"forky",m); if err!=nil{t.Fatal(err)}
 ps,err:=a.Packages(ctx,func(n string)bool{ for _,x:=range strings.Fields("containerd runc etcd-server libc6 libseccomp2 busybox-static libgcc-s1 kubernetes-client kubectl kubernetes-node libsystemd0 kind kubernetes-server kubelet conntrack"){if n==x{return true}};return false})
 for n,s:=range ps{t.Log(n,s["Version"],s["Size"],s["Depends"])}
 if err!=nil{t.Fatal(err)}
}
