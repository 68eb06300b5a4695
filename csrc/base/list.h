/* Intrusive doubly linked circular list: the head is a link too, so no operation has a special case. */
#ifndef AL_BASE_LIST_H
#define AL_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

typedef struct al_link {
    struct al_link *next, *prev;
} al_link;

#define al_container(link, type, member) ((type *)((char *)(link) - offsetof(type, member)))

static inline void al_list_init(al_link *head) { head->next = head->prev = head; }

static inline bool al_list_empty(const al_link *head) { return head->next == head; }

static inline void al_list_insert_after(al_link *at, al_link *link) {
    link->prev = at;
    link->next = at->next;
    at->next->prev = link;
    at->next = link;
}

static inline void al_list_insert_before(al_link *at, al_link *link) { al_list_insert_after(at->prev, link); }

static inline void al_list_remove(al_link *link) {
    link->prev->next = link->next;
    link->next->prev = link->prev;
    link->next = link->prev = NULL;
}

#endif
