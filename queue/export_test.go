package queue

// SetKey gives a task a key, from within its middleware.
func SetKey(i *Incoming, key string) { i.j.key = key }
