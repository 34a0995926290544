package users

import (
	"cmp"
	"slices"
	"sync"
)

// User is one record.
type User struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Stats counts what POST /users has executed. Posts − Unique requests were executed more than once.
type Stats struct {
	Instance string `json:"instance"`
	Posts    int    `json:"posts"`
	Unique   int    `json:"unique"`
}

// Store keeps users in memory. The zero value is not ready; use NewStore.
type Store struct {
	mu     sync.RWMutex
	users  map[string]User
	posts  int
	unique int
}

// NewStore returns a store that holds the given users. They do not count as created.
func NewStore(seed ...User) *Store {
	store := &Store{users: make(map[string]User, len(seed))}
	for _, user := range seed {
		store.users[user.ID] = user
	}
	return store
}

// Find returns the user with this id.
func (s *Store) Find(id string) (User, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	user, found := s.users[id]
	return user, found
}

// List returns all users, ordered by id.
func (s *Store) List() []User {
	s.mu.RLock()
	defer s.mu.RUnlock()
	list := make([]User, 0, len(s.users))
	for _, user := range s.users {
		list = append(list, user)
	}
	slices.SortFunc(list, func(a, b User) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// Create counts one execution and adds the user; it reports false when the id was there already.
func (s *Store) Create(user User) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.posts++
	if _, exists := s.users[user.ID]; exists {
		return false
	}
	s.unique++
	s.users[user.ID] = user
	return true
}

// Stats returns the counts so far.
func (s *Store) Stats() Stats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return Stats{Posts: s.posts, Unique: s.unique}
}
