import sys; sys.path.insert(0,"tests")
import numpy as np, loss_oracle as o, inputs, warnings
import stablesoftmax as s
np.seterr(all="ignore")
rng=np.random.default_rng(1)
for name,dt in [(k,inputs.DTYPES[k]) for k in sys.argv[1:]]:
    W={}
    for fam in inputs.FAMILIES:
        if fam in("adversarial","special"): continue
        x=inputs.table(fam,dt)[::20,:41]; x=np.where(np.isfinite(x),x,dt.type(-1))
        n=x.shape[1]; N=len(x)
        y=rng.integers(0,n,N); y[::2]=np.argmax(x[::2],1)
        w=rng.uniform(.1,2,n); soft=rng.dirichlet(np.full(n,.3),N).astype(dt)
        def upd(k,v,f=fam):
            if v>W.get(k,(0,))[0]: W[k]=(v,f)
        for key,lab,kw in [("hard",y,{}),("hardw",y,dict(weight=w)),("smooth",y,dict(label_smoothing=.1)),("smoothw",y,dict(label_smoothing=.1,weight=w)),("soft",soft,{}),("softw",soft,dict(weight=w)),("softs",soft,dict(label_smoothing=.2))]:
            l,g=s.cross_entropy_with_grad(x,lab,reduction="none",**kw)
            for i in range(N):
                q=o.weights(n,lab[i],**kw)
                upd(key,o.error(l[i],o.loss(x[i],q),dt))
                if i%8==0:
                    ge=o.gradient(x[i],q)
                    if key.startswith("hard"): upd("g"+key,max(o.error(a,b,dt) for a,b in zip(g[i],ge)))
                    else:
                        Q=sum(q)
                        for a,b,c,p in zip(g[i],ge,q,o.log_softmax(x[i])):
                            u=max(o.ulp(abs(c),dt) if c else 0,o.ulp(abs(b),dt)); upd("g"+key,float(abs(o.mpf(float(a))-b)/u))
        h=s.entropy(x); 
        for i in range(N): upd("entropy",o.error(h[i],o.entropy(x[i]),dt))
        c=s.logcumsumexp(x)
        for i in range(0,N,2):
            e=o.logcumsumexp(x[i]); upd("cum",max(o.error(a,v,dt)/max(1,k/(16 if dt.itemsize==2 else 1)) for a,(v,k) in zip(c[i],e)))
    print(name,{k:(round(v[0],3),v[1]) for k,v in W.items()})
